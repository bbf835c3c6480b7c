"""How the report looks: light and dark, on a phone as on a wide screen."""

STYLE = """
:root { color-scheme: light dark; --paper: #fbfbf9; --card: #fff; --ink: #1c1d22; --soft: #63656e;
  --line: #dedfe3; --accent: #2457c5; --good: #17703a; --good-bg: #e2f3e7; --bad: #b0242a;
  --bad-bg: #fbe4e3; --bar: #7c9be6; --code: #f2f3f5; }
@media (prefers-color-scheme: dark) { :root { --paper: #15161a; --card: #1e2025; --ink: #e8e8ea;
  --soft: #a0a3ad; --line: #363943; --accent: #8fb0ff; --good: #7fd89b; --good-bg: #173423;
  --bad: #ff9c97; --bad-bg: #46201f; --bar: #4b68b5; --code: #282b32; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.2rem clamp(.8rem, 3vw, 2rem) 4rem;
  background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 16px/1.5 system-ui, "Noto Sans CJK SC", "PingFang SC", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .6rem 0 .4rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: .85rem; font-weight: 600; color: var(--soft); margin: 1rem 0 .3rem; }
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: .15em; }
p { margin: .4rem 0; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1rem; font-size: .92rem; }
small, .soft { color: var(--soft); font-size: .85rem; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: .6rem;
  background: var(--card); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; overflow-wrap: normal;
  font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; text-align: left; vertical-align: top; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; font-size: .8rem; }
tr:last-child td { border-bottom: 0; }
tr.group td { background: var(--code); font-weight: 600; }
td.number, th.number { text-align: right; }
td.text { white-space: normal; min-width: 14rem; }
.bar { display: inline-block; width: 5rem; height: .6rem; border-radius: .3rem; overflow: hidden;
  background: var(--code); vertical-align: baseline; margin-left: .5rem; }
.bar i { display: block; height: 100%; background: var(--bar); }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .8rem 0; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .8rem 1rem 1rem; margin: .8rem 0; }
.question { white-space: pre-wrap; }
.pictures { display: flex; flex-wrap: wrap; gap: .5rem; align-items: flex-start; margin: .5rem 0; }
.pictures img { max-width: 100%; height: auto; border: 1px solid var(--line); display: block;
  background: #fff; }
.pictures img.grown { image-rendering: pixelated; }
figure { margin: 0; max-width: 100%; } figcaption { color: var(--soft); font-size: .85rem; }
pre { margin: 0; white-space: pre-wrap; font: .86rem/1.45 ui-monospace, "Noto Sans Mono CJK SC",
  monospace; background: var(--code); border-radius: .35rem; padding: .3rem .55rem; min-width: 0;
  max-height: 22rem; overflow-y: auto; }
.said { display: grid; grid-template-columns: minmax(0, 1fr) max-content; gap: .3rem .6rem;
  align-items: start; margin: .3rem 0; }
.verdict { border-radius: .35rem; padding: .2rem .5rem; font-size: .85rem; text-align: right;
  font-variant-numeric: tabular-nums; background: var(--code); }
.good { color: var(--good); background: var(--good-bg); }
.bad { color: var(--bad); background: var(--bad-bg); }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--soft); font-size: .9rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr));
  gap: .8rem; }
.gallery a { display: block; border: 1px solid var(--line); border-radius: .6rem; overflow: hidden;
  background: var(--card); text-decoration: none; }
.gallery img { display: block; width: 100%; height: 11rem; object-fit: cover;
  object-position: top left; background: #fff; }
.gallery span { display: block; padding: .3rem .7rem; font-size: .9rem; }
@media (max-width: 34rem) { .said { grid-template-columns: 1fr; } .verdict { justify-self: start; }
  .facts { grid-template-columns: 1fr; gap: 0; } .facts dd { margin-bottom: .4rem; } }
"""
