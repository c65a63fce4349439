import { Component, type ReactNode } from "react";
import { Failed } from "./base";

/** Keeps a page that breaks from taking the frame with it. */
export class Boundary extends Component<{ children: ReactNode }, { error?: unknown }> {
  override state: { error?: unknown } = {};
  static getDerivedStateFromError = (error: unknown) => ({ error });
  override render() {
    if (this.state.error === undefined) return this.props.children;
    return (
      <div className="page">
        <Failed error={this.state.error} retry={() => location.reload()} whole />
      </div>
    );
  }
}
