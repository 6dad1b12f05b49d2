"""What the evaluation's page adds to the dataset report's style sheet, and the script that sorts its tables."""

PLOTS_CSS = """
:root{--choice:#0072b2;--found:#d55e00;--empty:#d9dbd8;--most:#2f7db5}
@media(prefers-color-scheme:dark){:root{--choice:#4ba3db;--found:#f0883e;--empty:#2b3035;--most:#5ba8da}}
.none{color:var(--soft);font-weight:400;font-style:italic;white-space:normal}
.scroll{overflow-x:auto;margin:0 0 1.2em}
.figures dd .none{font-size:1.1rem}
.verdict{margin:0 0 1.1em;font-size:1.12rem}
.alert{margin:18px 0 0;padding:12px 18px;border-left:4px solid var(--found);background:var(--raised)}
.alert p{margin:0}.alert ul,#method ul{margin:.3em 0 .9em;padding-left:1.2em}.alert ul{margin-bottom:0}
section h3{margin:1.3em 0 .5em}.folder h3{margin:0 .7em 0 0}
.yes{color:var(--choice);font-weight:700}.no{color:var(--found);font-weight:700}
.num th,.num td{overflow-wrap:normal;vertical-align:baseline}
.num .n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.num tbody th{font-weight:400}
.num td.free,.num th.free{overflow-wrap:anywhere;min-width:8em}
.num .iv{color:var(--soft);font-size:.92em}
.num.small{width:auto}.num.small th,.num.small td{padding-right:28px}
.num tr>:last-child,.num.small tr>:last-child{padding-right:0}
.num.wide th:first-child{position:sticky;left:0;background:var(--paper)}
.groups{table-layout:fixed}.groups th{width:9%}.groups th.free{width:28%}.groups th.dots{width:auto}
.groups td.dots{padding-right:24px;vertical-align:middle}
.dots svg{display:block;width:calc(100% - 14px);height:16px;margin:0 7px;overflow:visible}
th button{all:unset;cursor:pointer}th button:hover{color:var(--ink);text-decoration:underline}
th button:focus-visible{outline:2px solid var(--link);outline-offset:2px}
th[aria-sort=descending] button::after{content:" ↓"}th[aria-sort=ascending] button::after{content:" ↑"}
.key{display:flex;flex-wrap:wrap;gap:4px 24px;margin:0 0 14px;padding:0;list-style:none;font-size:.88rem}
.key svg{display:inline-block;width:26px;height:14px;margin-right:8px;vertical-align:-2px;overflow:visible}
.conditions{margin:0 0 1.6em;font-size:.92rem}
.condition{display:grid;grid-template-columns:9em minmax(0,1fr) 13em;grid-template-areas:"name plot values";
column-gap:18px;align-items:center}
.condition .name{grid-area:name}
.condition .plot{grid-area:plot;display:block;width:100%;height:54px;overflow:visible}
.condition .values{grid-area:values;display:grid;grid-template-columns:5em 1fr;font-variant-numeric:tabular-nums;
line-height:18px}
.condition .values b{font-weight:600;text-align:right;padding-right:12px;white-space:nowrap}
.condition .values .none{grid-column:1/3;padding-left:1.6em}
.condition .values .iv{color:var(--soft);white-space:nowrap;font-size:.92em}
.condition.axis .plot{height:24px}
.grid{stroke:var(--line)}.chance{stroke:var(--soft);stroke-dasharray:4 4;stroke-width:1.5}
.tick{fill:var(--soft);font-size:12px}
.c{fill:var(--choice)}.f{fill:var(--found)}line.iv{stroke-width:4;stroke-opacity:.45}
.iv.c{stroke:var(--choice)}.iv.f{stroke:var(--found)}
.hollow{fill:var(--paper);stroke:var(--soft);stroke-width:2}.most-given{stroke:var(--ink);stroke-width:2.5}
.way{stroke:var(--choice);stroke-width:2;stroke-opacity:.45}
.all{background:var(--t4)}.most{background:var(--most)}.some{background:var(--t1)}.unasked{background:var(--empty)}
.unmeasured{outline:1px dashed var(--soft);outline-offset:-1px}
.wrong{background:repeating-linear-gradient(45deg,var(--lost) 0 4px,transparent 4px 6px);
outline:1px solid var(--lost);outline-offset:-1px}
.map+details{margin-top:22px}
.pair{margin:0 0 14px}.pair .ask,.pair .answer-key{margin:0 0 4px;max-width:none;white-space:pre-wrap}
.pair .ask{font-weight:600}.pair .answer-key{margin-bottom:10px}.pair .answer-key span{color:var(--soft)}
.sides{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:22px;margin-bottom:8px}
.sides h4{display:flex;flex-wrap:wrap;gap:2px 12px;margin:0 0 4px;padding-bottom:4px;
border-bottom:1px solid var(--line);font-size:.92rem}
.sides h4 span{font-weight:400}.sides h4 i{font-style:normal}.sides .sum{color:var(--soft);margin-left:auto}
.sides dl{display:grid;grid-template-columns:auto minmax(0,1fr);gap:3px 12px;margin:0;font-size:.92rem}
.sides dt{color:var(--soft)}.sides dd{margin:0;white-space:pre-wrap}
.curve{margin:0 0 1.2em}.curve img{display:block;width:100%;max-width:900px;height:auto;background:#fff;
border:1px solid var(--line);border-radius:8px}
@media(min-width:761px){.num.wide th:first-child{white-space:nowrap}}
@media(max-width:960px){.num.wide .dup{display:none}}
@media(min-width:761px) and (max-width:960px){.figures dd{font-size:1.25rem}.groups .none{font-size:.72rem}}
@media(max-width:760px){
.condition{grid-template-columns:minmax(0,1fr) auto;grid-template-areas:"name values" "plot plot";align-items:start;
margin-bottom:10px}
.condition .values{grid-template-columns:5em 7.4em}.condition.axis{margin:0}.condition .name{font-weight:600}
.num.wide{font-size:.86rem}.num.wide th,.num.wide td{padding-right:8px}
.num.wide tr>:last-child{display:none}.num.wide tr>:nth-last-child(2){padding-right:0}
.num.small{width:100%}.num .dup{display:none}.num thead .n{white-space:normal}.num .none{font-size:.72rem}
.num.wide .none{font-size:.67rem}
.num.small th,.num.small td{padding-right:10px}
.groups,.groups thead,.groups tbody{display:block}
.groups tr{display:grid;grid-template-columns:repeat(5,minmax(0,1fr));padding:6px 0;border-top:1px solid var(--line)}
.groups thead tr{padding:0;border:0}.groups td,.groups tbody th,.groups thead th{padding:0 4px 0 0;border:0}
.groups .free,.groups td.dots{grid-column:1/-1;width:auto}.groups td.dots{padding:4px 0}
.groups thead .free,.groups thead .dots{display:none}.groups thead th,.groups thead th.n{width:auto}
.sides{grid-template-columns:minmax(0,1fr);gap:12px}.sides .sum{margin-left:0}}
""".strip()

SORT = """
for(const th of document.querySelectorAll("table.sort thead th:not(.dots)")){
const button=document.createElement("button"),at=th.cellIndex
const of=row=>row.cells[at].dataset.v??row.cells[at].textContent
const compare=(a,b)=>isNaN(a)||isNaN(b)?a.localeCompare(b):a-b
button.append(...th.childNodes);th.append(button)
button.onclick=()=>{const down=th.ariaSort!="descending",body=th.closest("table").tBodies[0]
for(const other of th.parentNode.cells)other.ariaSort=null
th.ariaSort=down?"descending":"ascending"
body.append(...[...body.rows].sort((a,b)=>(of(a)=="")-(of(b)=="")||(down?-1:1)*compare(of(a),of(b))))}}
""".strip()
