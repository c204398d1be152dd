"""Data Docs that can be read offline.

Great Expectations' pages load their styles, scripts and a logo from the web (and so tell who looks at which lot), and
the index is drawn by a script: without a network it is blank. Here every such reference is taken out, one small
stylesheet is written into each page, and the index becomes a plain table of the validations.
"""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

from great_expectations.checkpoint import UpdateDataDocsAction
from great_expectations.core.run_identifier import RunIdentifier

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
.btn-group,.cooltip .top,[hidden],.ge-walkthrough-modal,footer{display:none}
"""
_LOADED = re.compile(
    r"<script\b.*?</script\s*>|<style\b.*?</style\s*>|<link\b[^>]*>|<img\b[^>]*>|<footer\b.*?</footer\s*>"
    r"|<button\b.*?</button\s*>|<label\b.*?</label\s*>",
    re.DOTALL | re.IGNORECASE,
)
_OUTWARD = re.compile(r"""\s(?:href|src|action|integrity|crossorigin)=(["'])(?:https?:)?//.*?\1""", re.IGNORECASE)
_HANDLER = re.compile(r"""\son\w+=(["']).*?\1""", re.IGNORECASE | re.DOTALL)


def actions(context: Any, docs: Path, table: str) -> list[UpdateDataDocsAction]:
    """Adds a site under `docs` to the context, with room for a fresh validation of this table."""
    shutil.rmtree(docs / "validations" / table, ignore_errors=True)
    docs.mkdir(parents=True, exist_ok=True)
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.resolve())}
    config = {"class_name": "SiteBuilder", "show_how_to_buttons": False, "store_backend": store}
    context.add_data_docs_site(SITE, config | {"site_index_builder": {"class_name": "DefaultSiteIndexBuilder"}})
    return [UpdateDataDocsAction(name=SITE, site_names=[SITE])]


def run_id(table: str) -> RunIdentifier:
    """Names the run after the table, as the pages show it."""
    return RunIdentifier(run_name=table)


def take_offline(docs: Path, table: str, *, passed: bool, evaluated: int) -> Path:
    """Rewrites every page under `docs` and the index, which lists the newest validation of each table.

    Returns:
        The path of the index.
    """
    shutil.rmtree(docs / "static", ignore_errors=True)
    pages = sorted(docs.glob(f"validations/{table}/**/*.html"))
    for page in [*pages, *docs.glob(f"expectations/{table}.html")]:
        page.write_text(offline(page.read_text(encoding="utf-8")), encoding="utf-8")
    ledger = docs / "validations.json"
    known: dict[str, Any] = json.loads(ledger.read_text(encoding="utf-8")) if ledger.exists() else {}
    newest = {"page": pages[-1].relative_to(docs).as_posix(), "passed": passed, "evaluated": evaluated}
    ledger.write_text(json.dumps(known | {table: newest}, indent=1), encoding="utf-8")
    index = docs / "index.html"
    index.write_text(_index(known | {table: newest}), encoding="utf-8")
    return index


def offline(page: str) -> str:
    """The page without scripts, foreign styles, images and addresses on the web."""
    bare = _HANDLER.sub("", _OUTWARD.sub("", _LOADED.sub("", page)))
    return bare.replace("</head>", f"<style>{STYLE}</style></head>", 1)


def _index(validations: dict[str, Any]) -> str:
    rows = "".join(
        f'<tr><td><a href="{html.escape(entry["page"])}">{html.escape(table)}</a></td>'
        f'<td class="{"passed" if entry["passed"] else "failed"}">{"passed" if entry["passed"] else "failed"}</td>'
        f"<td>{entry['evaluated']}</td></tr>"
        for table, entry in validations.items()
    )
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Lotgate: Data Docs</title>'
        f"<style>{STYLE}</style></head><body><h1>Data Docs: validations of this lot</h1>"
        f"<p>What Great Expectations evaluated. The gate's own checks stand in the report and in decision.json.</p>"
        f"<table><tr><th>Suite</th><th>All expectations</th><th>Evaluated</th></tr>{rows}</table></body></html>"
    )
