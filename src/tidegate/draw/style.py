"""How plots look, light and dark, once for a page: as a file beside the console's, or within a report."""

STYLE = """\
.plot,.spark,.share,.key{--p1:#0b6e75;--p2:#b45f06;--p3:#6a5bb5;--p4:#a3315d;--p5:#4c7a1c;--p6:#2b5fa8;\
--pbad:#b3261e;--pgrid:#dfe4e6;--ptext:#5b6871}
@media (prefers-color-scheme:dark){.plot,.spark,.share,.key{--p1:#4fb7bd;--p2:#e8a951;--p3:#a79be0;--p4:#f08bb0;\
--p5:#9ccb65;--p6:#84b3f5;--pbad:#ff8a80;--pgrid:#29343a;--ptext:#94a3ab}}
.plot{display:block;width:100%;height:auto;font:11px system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;\
font-variant-numeric:tabular-nums}
.plot text{fill:var(--ptext)}.grid path{stroke:var(--pgrid)}\
.track{stroke:var(--pgrid)}.level{stroke:var(--ptext);stroke-dasharray:3 3}\
.plot text.empty{font-size:13px}
.s1{--p:var(--p1)}.s2{--p:var(--p2)}.s3{--p:var(--p3)}.s4{--p:var(--p4)}.s5{--p:var(--p5)}.s6{--p:var(--p6)}
path:is(.s1,.s2,.s3,.s4,.s5,.s6){fill:none;stroke:var(--p);stroke-width:2;stroke-linejoin:round}\
.dot{fill:var(--p)}path.band:is(.s1,.s2,.s3,.s4,.s5,.s6){fill:var(--p);stroke:none;opacity:.16}
.spark path.s1{stroke-width:1.4}.spark,.share{vertical-align:middle;max-width:100%}
.f1{fill:var(--p1)}.f2{fill:var(--p2)}.f3{fill:var(--p3)}.f4{fill:var(--p4)}.f5{fill:var(--p5)}.f6{fill:var(--p6)}\
.now{fill:var(--p1);opacity:.55}.outline{fill:none;stroke:var(--ptext);stroke-width:1.6;stroke-linejoin:round}\
.none{fill:var(--pgrid)}.event{stroke:var(--pbad);stroke-width:1.6;stroke-dasharray:1 2}\
.mark{stroke:var(--ptext);stroke-width:1.2}.soft{opacity:.4}.pale{opacity:.18}\
.limit{stroke:var(--ptext);stroke-width:2}.beyond{fill:var(--pbad);opacity:.13}\
.trouble{--p:var(--pbad)}.idle{--p:var(--ptext)}path.reach{stroke:var(--p);stroke-width:4;opacity:.4}\
.ahead{fill:none;stroke:var(--ptext);stroke-dasharray:3 3}\
.low{fill:var(--p6)}.medium{fill:var(--p2)}.high,.critical{fill:var(--pbad)}.ongoing{opacity:.95}.over{opacity:.5}
.figure{margin:0}.figure figcaption{font-size:13px}.legend{display:flex;flex-wrap:wrap;gap:2px 16px;list-style:none;\
margin:4px 0;padding:0}.figure caption{text-align:left;padding:4px 0}
@media (max-width:640px){.plot{font-size:15px}.plot text.empty{font-size:17px}}
"""
"""Colours are tokens of their own (`--p1` …), which a page may set anew; everything else goes by classes."""
