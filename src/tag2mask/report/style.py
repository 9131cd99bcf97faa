"""The look of the report: one style sheet, light or dark as the reader's system is."""

from __future__ import annotations

CSS = """
:root { color-scheme: light dark; --ground: #f7f7f5; --card: #ffffff; --ink: #1d2023; --soft: #61686f;
  --line: #e2e3df; --accent: #0b6e64; --stripe: #f3f4f1; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #15181a; --card: #1e2224; --ink: #e7e9e8; --soft: #9aa3a8; --line: #33393c;
    --accent: #5cc8b8; --stripe: #23282a; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1500px; margin: 0 auto; padding: 2rem clamp(1rem, 3vw, 3rem) 4rem; }
header p { margin: 0; color: var(--soft); }
h1 { margin: 0 0 .25rem; font-size: 1.9rem; letter-spacing: -.02em; }
h2 { margin: 0 0 .8rem; font-size: 1.15rem; }
section { margin-top: 1.5rem; padding: 1.2rem 1.4rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 12px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .38rem .9rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { color: var(--soft); font-weight: 600; border-bottom: 1px solid var(--line); }
tbody th { font-weight: 500; }
tbody tr:nth-child(even) { background: var(--stripe); }
.settings td { text-align: left; white-space: normal; max-width: 60rem; overflow-wrap: anywhere; }
.settings th { text-align: left; vertical-align: top; }
.note { margin: .8rem 0 0; color: var(--soft); font-size: .88rem; }
.legend { display: flex; flex-wrap: wrap; gap: .35rem 1.1rem; margin: 0 0 .4rem; padding: 0; list-style: none;
  font-size: .9rem; }
.swatch { display: inline-block; width: .95rem; height: .95rem; margin-right: .4rem; vertical-align: -.12rem;
  border-radius: 4px; border: 1px solid var(--line); }
.image { margin-top: 1.1rem; padding-top: 1rem; border-top: 1px solid var(--line); }
.image h3 { margin: 0 0 .5rem; font-size: .95rem; font-weight: 600; overflow-wrap: anywhere; }
.image h3 span { color: var(--soft); font-weight: 400; }
.run { margin: .4rem 0 .2rem; color: var(--accent); font-size: .88rem; font-weight: 600; }
.row { display: flex; gap: .7rem; overflow-x: auto; padding-bottom: .5rem; }
figure { margin: 0; flex: 0 0 auto; width: 200px; }
figure img { display: block; width: 100%; height: 150px; object-fit: contain; border-radius: 8px;
  background: var(--stripe); }
figcaption { margin-top: .25rem; color: var(--soft); font-size: .82rem; text-align: center; }
details { margin-top: .8rem; }
summary { cursor: pointer; font-weight: 600; }
.sheets { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 1.2rem; margin-top: .8rem; }
.sheets figure { width: auto; max-width: 100%; }
.sheets img { width: auto; max-width: 100%; height: auto; }
.problem { display: flex; height: 150px; padding: .6rem; overflow: auto; border: 1px dashed var(--line);
  border-radius: 8px; color: var(--soft); font-size: .78rem; overflow-wrap: anywhere; }
footer { margin-top: 2rem; color: var(--soft); font-size: .85rem; }
@media print { section { break-inside: avoid; } .row { flex-wrap: wrap; } }
"""
