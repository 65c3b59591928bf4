// node bundle.mjs NODE_MODULES_FOLDER OUTPUT.js — makes one script of page.jsx and Grafana's packages.
import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, outfile] = process.argv.slice(2);
const { build } = createRequire(join(modules, "package.json"))("esbuild");
// The code editor is half of the bundle, and no panel has one.
const unused = {
  name: "unused",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^monaco-editor/ }, ({ path }) => ({ path, namespace: "unused" }));
    onLoad({ filter: /.*/, namespace: "unused" }, () => ({ contents: "module.exports = {};" }));
  },
};
await build({
  entryPoints: [join(modules, "page.jsx")],
  bundle: true,
  outfile,
  format: "iife",
  jsx: "automatic",
  minify: true,
  define: { "process.env.NODE_ENV": '"production"', global: "window" },
  plugins: [unused],
  loader: { ".svg": "dataurl", ".woff2": "dataurl", ".png": "dataurl" },
  logLevel: "error",
  treeShaking: true,
});
