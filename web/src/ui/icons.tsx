import type { ReactNode } from "react";

const icon = (children: ReactNode) => (
  <svg viewBox="0 0 20 20" className="icon" aria-hidden="true" fill="none" stroke="currentColor" strokeWidth="1.6" strokeLinecap="round" strokeLinejoin="round">
    {children}
  </svg>
);

export const icons = {
  menu: icon(<path d="M3 5.5h14M3 10h14M3 14.5h14" />),
  search: icon(<><circle cx="9" cy="9" r="5.2" /><path d="m13 13 4 4" /></>),
  now: icon(<path d="M2.5 10.5h3.2l2.2-6 3.7 11 2.3-7 1 2h2.6" />),
  incidents: icon(<path d="M10 3 17.5 16.5h-15zM10 8v3.6M10 14h.01" />),
  deliveries: icon(<path d="M17 3 2.8 8.6l5.6 2.4L17 3Zm0 0-5.4 14.2L8.4 11" />),
  hooks: icon(<path d="M10 2.8v8.4a3.6 3.6 0 1 1-7.2 0M10 2.8l-2 2M10 2.8l2 2M13.5 16.5h4M13.5 12.5h4" />),
  why: icon(<><circle cx="10" cy="10" r="7.2" /><path d="M7.8 7.8a2.2 2.2 0 1 1 3.2 2c-.7.4-1 .8-1 1.6M10 13.9h.01" /></>),
  agents: icon(<><rect x="3.5" y="6.5" width="13" height="9.5" rx="2.5" /><path d="M10 3.2v3.2M7.4 10.4v1.2M12.6 10.4v1.2" /></>),
  trends: icon(<path d="M3 16.5V11M8 16.5V6M13 16.5v-7M17.5 16.5V3.5" />),
  health: icon(<path d="M10 16.5S3 12.4 3 7.6A3.7 3.7 0 0 1 10 6a3.7 3.7 0 0 1 7 1.6c0 4.8-7 8.9-7 8.9Z" />),
  try: icon(<path d="M8 2.8h4M9 2.8V8l-4.6 7.2A1.3 1.3 0 0 0 5.5 17h9a1.3 1.3 0 0 0 1.1-1.8L11 8V2.8M6.6 12.5h6.8" />),
};
