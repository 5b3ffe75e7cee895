"""The parts of the debug page, each filled in with ``str.format``.

The law: it needs nothing from anywhere, works without scripts, and is read from the top: what was
raised, where in the app, why. Frames fold with ``<details>``; the script only adds a button.
"""

from __future__ import annotations

STYLES = r"""
:root {
  color-scheme: light dark;
  --paper: #fbfaf7; --card: #fff; --ink: #23211d; --soft: #6f6a60; --line: #e4e0d7;
  --accent: #b3261e; --here: #fff3d6; --mark: #ffd58a; --mono: ui-monospace, "SF Mono",
    "Cascadia Code", "JetBrains Mono", Menlo, Consolas, monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #1b1a18; --card: #242320; --ink: #ece8df; --soft: #a19b8f; --line: #3a3833;
    --accent: #ff8a7a; --here: #3a3220; --mark: #7a5a16;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 2.5rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif;
}
body > * { max-width: 68rem; margin-inline: auto; }
h1, h2 { margin: 0; font-weight: 600; line-height: 1.25; overflow-wrap: anywhere; }
h1 { font-size: 1.9rem; color: var(--accent); }
h2 { font-size: 1.15rem; }
pre, code, .place, .function { font-family: var(--mono); font-size: .85rem; }
.text { margin: .4rem 0 0; white-space: pre-wrap; overflow-wrap: anywhere; }
header .text { font-size: 1.2rem; }
.relation {
  margin: 0; color: var(--soft); font-size: .78rem; letter-spacing: .06em;
  text-transform: uppercase;
}
.request { margin: 0 0 1rem; color: var(--soft); }
.request summary { cursor: pointer; overflow-wrap: anywhere; }
.request dl {
  display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: .6rem 0;
  font-family: var(--mono); font-size: .8rem;
}
.request dd { margin: 0; overflow-wrap: anywhere; }
.note { margin: .4rem 0 0; padding-left: .8rem; border-left: 3px solid var(--mark);
  white-space: pre-wrap; }
section { margin-top: 2rem; }
main > section:first-child > :is(h2, .text) { display: none; }
section section { margin: 1.25rem 0 0; padding-left: 1rem; border-left: 3px solid var(--line); }
.frames { margin-top: .9rem; }
.frame { border: 1px solid var(--line); border-bottom-width: 0; background: var(--card); }
.frame:first-child { border-radius: 8px 8px 0 0; }
.frame:last-child { border-bottom-width: 1px; border-radius: 0 0 8px 8px; }
.frame:only-child { border-radius: 8px; }
.frame summary {
  display: flex; flex-wrap: wrap; gap: .1rem 1rem; padding: .55rem .9rem; cursor: pointer;
  align-items: baseline;
}
.frame summary::before { content: "\25b8"; color: var(--soft); }
.frame[open] summary::before { content: "\25be"; }
.frame summary:hover { background: var(--here); }
.function { font-weight: 600; }
.library .function { font-weight: 400; }
.place { margin-left: auto; color: var(--soft); overflow-wrap: anywhere; }
.place b { color: var(--ink); font-weight: 600; }
.frame pre { margin: 0; padding: .5rem 0; overflow-x: auto; border-top: 1px solid var(--line); }
.line { display: block; width: max-content; min-width: 100%; padding-right: 1rem; tab-size: 4; }
.line.here { background: var(--here); }
.number {
  display: inline-block; width: 4.2rem; padding-right: 1rem; color: var(--soft);
  text-align: right; user-select: none;
}
mark { background: var(--mark); color: inherit; border-radius: 3px; padding: .05rem 0; }
.omitted { margin: 0; padding: .5rem .9rem; color: var(--soft); font-style: italic; }
.plain { margin-top: 2.5rem; }
.plain summary { cursor: pointer; }
.plain pre { padding: 1rem; overflow-x: auto; background: var(--card);
  border: 1px solid var(--line); border-radius: 8px; }
button { font: inherit; font-size: .85rem; padding: .25rem .8rem; cursor: pointer; }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
"""

JS = """\
const button = document.getElementById("copy");
if (navigator.clipboard) {
  button.hidden = false;
  button.onclick = async () => {
    await navigator.clipboard.writeText(document.getElementById("plain").textContent);
    button.textContent = "Copied";
  };
}
"""

TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{styles}</style>
</head>
<body>
<header>
{request}
<h1>{name}</h1>
<p class="text">{text}</p>
</header>
<main>
{exceptions}</main>
<details class="plain">
<summary>The traceback as plain text</summary>
<p><button id="copy" type="button" hidden>Copy</button></p>
<pre id="plain">{plain}</pre>
</details>
<footer>{python}. You see this page because the application runs with debug=True: it shows source
code, and is never for the public.</footer>
<script>
{js}</script>
</body>
</html>
"""

REQUEST_MARK = "<!-- request -->"
"""Where the request goes. No text can hold it: what comes from outside is escaped."""

REQUEST = """\
<details class="request"><summary><b>{method}</b> {path}</summary>
<dl>{headers}</dl></details>"""

EXCEPTION = """\
<section>
<p class="relation">{relation}</p>
<h2>{name}</h2>
<p class="text">{text}</p>
{notes}
<div class="frames">
{frames}</div>
{members}</section>
"""

FRAME_TEMPLATE = """\
<details class="frame {kind}"{state}>
<summary><span class="function">{function}</span>
<span class="place">{folder}<b>{file}:{lineno}</b></span></summary>
<pre>{code}</pre>
</details>
"""

LINE = '<span class="line"><span class="number">{lineno}</span>{line}</span>'

CENTER_LINE = '<span class="line here"><span class="number">{lineno}</span>{line}</span>'

OMITTED = '<p class="omitted">{what}</p>\n'
