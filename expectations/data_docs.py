"""Data Docs that can be read offline.

Great Expectations' pages load their styles, scripts and a logo from the web (and so tell who looks at which lot), and
the index is drawn by a script: without a network it is blank. Here every such reference is taken out, one small
stylesheet is written into each page, and the index becomes a plain table of the validations.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

from great_expectations.checkpoint import UpdateDataDocsAction

SITE = "lotgate"
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1c2733;max-width:72rem;margin:2rem auto;padding:0 1.5rem}
h1{font-size:1.5rem}h4,h5,h6{margin:1rem 0 .3rem}a{color:#0b63a5}ol{padding-left:1rem}ol li{display:inline}
table{border-collapse:collapse;width:100%;margin:.5rem 0}th,td{border-bottom:1px solid #d8dee4;padding:.35rem .6rem;
text-align:left;vertical-align:top}ul{margin:0;padding-left:1.1rem;list-style:none}
.alert,.card-header{background:#f3f5f7;
padding:.5rem .8rem;margin:1rem 0 .3rem}.badge{background:#e6ebf0;border-radius:.6rem;padding:0 .5rem;font-size:.85em}
.fa-check-circle::before,.passed::before{content:"\\2713 ";color:#18794e;font-weight:bold}
.fa-times::before,.failed::before{content:"\\2717 ";color:#b42318;font-weight:bold}
.fa-exclamation-triangle::before{content:"! ";color:#b42318;font-weight:bold}
.sticky>.card:first-child,[data-toggle=collapse],.btn-group,
.cooltip .top,[hidden],.ge-walkthrough-modal,footer{display:none}
"""
_LOADED = re.compile(
    r"<script\b.*?</script\s*>|<style\b.*?</style\s*>|<link\b[^>]*>|<img\b[^>]*>|<footer\b.*?</footer\s*>"
    r"|<button\b.*?</button\s*>|<label\b.*?</label\s*>",
    re.DOTALL | re.IGNORECASE,
)
_OUTWARD = re.compile(r"""\s(?:href|src|action|integrity|crossorigin)=(["'])(?:https?:)?//.*?\1""", re.IGNORECASE)
_HANDLER = re.compile(r"""\son\w+=(["']).*?\1""", re.IGNORECASE | re.DOTALL)
_HOME = re.compile(r"""href=(["'])[./]+index\.html\1""")
_SUITE = re.compile(r"""\shref=(["'])[./]+expectations/.*?\1""")  # pages of suites are not written: Git has them


def actions(context: Any, site: Path) -> list[UpdateDataDocsAction]:
    """Lets a checkpoint of the context write its validation pages under the empty folder `site`."""
    config = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(site)},
        "site_section_builders": {"expectations": "None", "profiling": "None"},
    }
    context.add_data_docs_site(SITE, config)
    return [UpdateDataDocsAction(name=SITE, site_names=[SITE])]


def publish(site: Path, docs: Path, table: str, *, passed: int, checks: int) -> Path:
    """Writes the page of this table's validation as `<table>.html`, and the index over all tables judged so far.

    Args:
        site: what Great Expectations wrote; no page in it where the suite could not be evaluated.
        docs: where readers look.
        passed, checks: how many of the gate's checks of this table passed, of how many.

    Returns:
        The path of the index.
    """
    docs.mkdir(parents=True, exist_ok=True)
    ours = docs / f"{table}.html"
    ours.unlink(missing_ok=True)  # an older run's page must not stand in for this one
    for page in site.glob("validations/**/*.html"):
        ours.write_text(offline(page.read_text(encoding="utf-8")), encoding="utf-8")
    ledger = docs / "validations.json"
    known: dict[str, Any] = json.loads(ledger.read_text(encoding="utf-8")) if ledger.exists() else {}
    known[table] = {"passed": passed, "checks": checks, "page": ours.name if ours.exists() else None}
    ledger.write_text(json.dumps(known, indent=1), encoding="utf-8")
    index = docs / "index.html"
    index.write_text(_index(known), encoding="utf-8")
    return index


def offline(page: str) -> str:
    """The page without scripts, foreign styles, images and addresses on the web."""
    bare = _HANDLER.sub("", _OUTWARD.sub("", _LOADED.sub("", page)))
    bare = _HOME.sub('href="index.html"', _SUITE.sub("", bare))
    return bare.replace("</head>", f"<style>{STYLE}</style></head>", 1)


def _index(validations: dict[str, Any]) -> str:
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Lotgate: Data Docs</title>'
        f"<style>{STYLE}</style></head><body><h1>Data Docs: what was expected of this lot</h1>"
        f"<table><tr><th>Suite</th><th>Result</th><th>Checks passed</th></tr>"
        f"{''.join(_index_row(table, entry) for table, entry in validations.items())}</table></body></html>"
    )


def _index_row(table: str, entry: dict[str, Any]) -> str:
    name, page = html.escape(table), entry["page"]
    link = f'<a href="{html.escape(page)}">{name}</a>' if page else f"{name} (not evaluated)"
    word = "passed" if entry["checks"] and entry["passed"] == entry["checks"] else "failed"
    return f'<tr><td>{link}</td><td class="{word}">{word}</td><td>{entry["passed"]} of {entry["checks"]}</td></tr>'
