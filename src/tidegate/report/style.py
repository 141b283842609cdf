"""How the report's page looks: on a screen, light and dark, and on paper."""

from __future__ import annotations

STYLE = """\
:root{color-scheme:light dark;--bg:#f5f7f7;--panel:#fff;--ink:#172026;--soft:#56656d;--line:#dde3e5;--accent:#0b6e75;\
--ok:#19703f;--bad:#b3261e;--idle:#5d6a72;--warn:#8a5a00;--info:#2b5fa8}
@media (prefers-color-scheme:dark){:root{--bg:#0e1417;--panel:#151d21;--ink:#e3eaec;--soft:#97a6ae;--line:#29353b;\
--accent:#4fb7bd;--ok:#5cc98b;--bad:#ff8a80;--idle:#95a4ac;--warn:#e8b04f;--info:#84b3f5}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:14px/1.5 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;\
font-variant-numeric:tabular-nums}
main{max-width:1120px;margin:0 auto;padding:24px}
h1{font-size:24px;line-height:1.3;margin:0 0 2px;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:17px;margin:0 0 8px}h3{font-size:14px;margin:0;overflow-wrap:anywhere}
p{margin:0 0 8px}.sub{color:var(--soft);font-size:13px}a{color:var(--accent)}
section{background:var(--panel);border:1px solid var(--line);border-radius:12px;padding:16px 18px;margin:16px 0;\
min-width:0}
.first ul{list-style:none;margin:0;padding:0}
.first li{display:grid;grid-template-columns:80px minmax(0,1fr);gap:4px 12px;padding:7px 0;\
border-top:1px solid var(--line);overflow-wrap:anywhere}.first li:first-child{border-top:0}
.tag{display:inline-block;padding:0 8px;border-radius:999px;border:1px solid currentColor;font-size:12px;\
line-height:20px;white-space:nowrap;justify-self:start;align-self:start}
.ok{color:var(--ok)}.bad{color:var(--bad);font-weight:600}.idle{color:var(--idle)}.warn{color:var(--warn)}.info{color:var(--info)}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,330px),1fr));gap:14px 22px}
.card{border-top:1px solid var(--line);padding:10px 0 0;min-width:0}
.card header{display:flex;gap:8px;align-items:center;flex-wrap:wrap;margin-bottom:2px}
.card p{font-size:13px;overflow-wrap:anywhere}
.facts{margin:0 0 6px;display:flex;flex-wrap:wrap;gap:0 14px;font-size:12px;color:var(--soft)}
.facts div{display:flex;gap:5px}.facts dd{margin:0;color:var(--ink)}
.pair,.courses{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:12px 28px}
.wide{grid-column:1/-1}
.scroll{overflow-x:auto}
table{width:100%;border-collapse:collapse;font-size:13px}
th,td{text-align:left;padding:5px 10px 5px 0;border-top:1px solid var(--line);vertical-align:top}
td{overflow-wrap:anywhere}thead th{border-top:0;color:var(--soft);font-weight:500;font-size:12px;white-space:nowrap}
tbody th{font-weight:600;overflow-wrap:anywhere}.num{text-align:right;white-space:nowrap}
tbody th{min-width:110px}td:last-child{min-width:200px}.lines td{white-space:nowrap;padding-right:18px}\
.seq{max-width:680px}.slim{max-width:560px;margin-bottom:12px}.tags{display:inline-flex;gap:6px;margin-right:6px}\
.legend{font-size:12px}.lanes{max-width:800px}
summary{cursor:pointer;font-size:12px;color:var(--soft)}summary:focus-visible{outline:2px solid var(--accent)}
footer{max-width:1120px;margin:0 auto;padding:0 24px 32px}
@media (max-width:640px){main,footer{padding-left:12px;padding-right:12px}.first li{grid-template-columns:1fr}}
@page{margin:14mm}
@media print{:root{--bg:#fff;--panel:#fff;--ink:#000;--soft:#444;--line:#bbb}body{font-size:11px}
main{max-width:none;padding:0}section{border:0;border-top:1px solid var(--line);border-radius:0;padding:10px 0;margin:0}
.card,figure,tr,li{break-inside:avoid}h2,h3{break-after:avoid}details:not([open]){display:none}
.cards{grid-template-columns:repeat(2,1fr)}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
