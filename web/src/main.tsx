import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Router } from "wouter";
import { basePath } from "./api/client";
import { App } from "./app";
import { dress, look } from "./lib/kept";
import "./style.css";

dress(look()); // before anything is drawn

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <Router base={basePath}>
      <App />
    </Router>
  </StrictMode>,
);
