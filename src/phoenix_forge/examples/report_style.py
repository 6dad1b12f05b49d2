"""The report page's style sheet. Light and dark; blue and orange are told apart with any colour vision."""

CSS = """
:root{--paper:#fcfcfa;--raised:#fff;--ink:#1c2127;--soft:#5b6570;--line:#e1e3e0;--link:#0b5c8e;--b1:#56738a;--b2:#0072b2;
--t0:#cfe1ee;--t1:#9cc3de;--t2:#5b9cc8;--t3:#1f6fa8;--t4:#0a3f6b;--lost:#d55e00;--same:#c9c9c4;--code:#f1f2ef}
@media(prefers-color-scheme:dark){:root{--paper:#14171a;--raised:#1c2024;--ink:#e4e7ea;--soft:#98a2ac;--line:#2e343a;
--link:#7fc1ea;--b1:#7d93a5;--b2:#4ba3db;--t0:#1d3547;--t1:#255577;--t2:#3079ab;--t3:#5ba8da;--t4:#b4dcf6;--lost:#f0883e;
--same:#4b5157;--code:#22272c}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue","Noto Sans","DejaVu Sans",sans-serif;overflow-wrap:anywhere}
header,main{max-width:1080px;margin:0 auto;padding:0 24px}
header{padding-top:44px}
.over{margin:0;color:var(--soft);font-size:.85rem}
h1{margin:.1em 0 .15em;font-size:2.3rem;line-height:1.15;letter-spacing:-.02em}
.lead{margin:0 0 28px;color:var(--soft)}
h2{margin:0 0 .6em;font-size:1.35rem;letter-spacing:-.01em}
h3{margin:0;font-size:.95rem}
p{margin:0 0 .9em;max-width:44em}
a{color:var(--link);text-decoration:none}
a:hover{text-decoration:underline}
code,pre,.hash{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.86em}
section{padding:30px 0 14px;border-top:1px solid var(--line)}
.figures{display:grid;grid-template-columns:repeat(4,1fr);gap:1px;margin:0;background:var(--line);
border:1px solid var(--line);border-radius:8px;overflow:hidden}
.figures div{padding:14px 18px;background:var(--raised)}
.figures dt{color:var(--soft);font-size:.85rem}
.figures dd{margin:0;font-size:1.6rem;line-height:1.25;font-weight:600;letter-spacing:-.015em;
font-variant-numeric:tabular-nums}
.figures p{margin:0;color:var(--soft);font-size:.8rem}
nav{display:flex;flex-wrap:wrap;gap:4px 20px;padding:18px 0 22px;font-size:.9rem}
.note,.span,footer{color:var(--soft);font-size:.84rem}
.span{white-space:nowrap}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th{text-align:left;font-weight:600}
thead th{padding:0 12px 6px 0;color:var(--soft);font-weight:400;font-size:.84rem}
td,tbody th{padding:5px 12px 5px 0;border-top:1px solid var(--line);vertical-align:top}
.bars tbody th{font-weight:400;width:9em;white-space:nowrap}
.bars td,.bars tbody th{padding:3px 12px 3px 0;border:0;vertical-align:middle}
.bars td.n{width:1%;padding-right:28px;text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.bars td.bar{padding-right:10px}
.bars td.n:last-child{padding-right:0}
.bars.narrow{max-width:520px}
.bar svg{display:block;width:100%;height:13px}
.b1{fill:var(--b1)}.b2{fill:var(--b2)}
.list td{overflow-wrap:anywhere}
.map{display:flex;flex-wrap:wrap;gap:14px 36px}
.folder{max-width:100%}
.folder h3,.folder p{display:inline;margin:0}
.folder h3{margin-right:.7em;font-weight:600}
.folder p{color:var(--soft);font-size:.84rem}
.cells{display:flex;flex-wrap:wrap;gap:2px;margin-top:5px}
.cells i{height:14px;max-width:100%}
.cells i:hover{outline:2px solid var(--ink)}
.legend{display:flex;flex-wrap:wrap;gap:4px 22px;margin:0 0 20px;padding:0;list-style:none;font-size:.88rem}
.legend i{display:inline-block;width:22px;height:13px;margin-right:7px;vertical-align:-1px}
.legend span,summary span{color:var(--soft)}
.t0{background:var(--t0)}.t1{background:var(--t1)}.t2{background:var(--t2)}.t3{background:var(--t3)}
.t4{background:var(--t4)}.same{background:var(--same)}
.lost{background:repeating-linear-gradient(45deg,var(--lost) 0 4px,transparent 4px 6px);outline:1px solid var(--lost)}
.histogram{display:block;width:100%;max-width:860px;height:auto;font-size:12px;fill:var(--ink)}
.histogram rect{fill:var(--b2)}.histogram line{stroke:var(--soft)}
.histogram text{text-anchor:middle;font-variant-numeric:tabular-nums}.histogram .axis{fill:var(--soft)}
summary{padding:9px 0;border-top:1px solid var(--line);font-weight:600;cursor:pointer}
summary span{margin-left:.4em;font-weight:400}
.samples{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:14px;margin:2px 0 20px;align-items:start}
article{padding:12px 16px;background:var(--raised);border:1px solid var(--line);border-radius:8px}
article b{display:block;color:var(--soft);font-size:.78rem;font-weight:400}
article pre{margin:0 0 10px;white-space:pre-wrap;overflow-wrap:anywhere;font-size:.86rem;line-height:1.5}
article .user pre,article .system pre{font-family:inherit;font-size:.95rem}
article .assistant pre{max-height:24em;overflow:auto;padding:8px 10px;background:var(--code);
border-left:3px solid var(--b2)}
footer{overflow-wrap:anywhere}
@media(max-width:760px){header,main{padding-left:16px;padding-right:16px}header{padding-top:26px}h1{font-size:1.8rem}
.figures,.samples{grid-template-columns:repeat(2,minmax(0,1fr))}.samples{grid-template-columns:minmax(0,1fr)}
.figures div{padding:10px 12px}.figures dd{font-size:1.2rem}.bars tbody th{width:auto}
.bars td,.bars tbody th{padding-right:7px}.bars td.bar{min-width:36px}
.bars td.n{padding-right:12px}
.list,.list tbody,.list tr,.list td{display:block}.list thead{display:none}
.list tr{padding:7px 0;border-top:1px solid var(--line)}
.list td{padding:0;border:0}
.span{white-space:normal}.histogram{font-size:15px}}
@media print{details{break-inside:avoid}.samples{grid-template-columns:1fr}}
""".strip()
