"""ResultSets, as JSON, CSV or XML; every value is text."""

import csv
import io
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from xml.sax.saxutils import escape

from flask import Response, jsonify, request

Row = dict[str, str]
NO_FILTER = frozenset(
    {"columns", "format", "req_format", "accessible", "sortBy", "sortOrder", "limit"}
)


def result_set(rows: Iterable[Row], headers: Sequence[str] = ()) -> Response:
    """Return rows in the format asked for; JSON when none was."""
    found = [{key: str(value) for key, value in row.items()} for row in rows]
    wanted = request.args.get("format", "json").lower()
    if wanted == "csv":
        return _csv(found, headers)
    if wanted == "xml":
        return _xml(found)
    body = {"ResultSet": {"Result": found, "totalRecords": str(len(found))}}
    return jsonify(body)


def _csv(rows: Sequence[Row], headers: Sequence[str]) -> Response:
    columns = list(rows[0]) if rows else list(headers)
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row.get(column, "") for column in columns] for row in rows)
    return Response(text.getvalue(), mimetype="text/csv")


def _xml(rows: Sequence[Row]) -> Response:
    columns = list(rows[0]) if rows else []
    head = "".join(f"<column>{escape(column)}</column>" for column in columns)
    body = "".join(
        "<row>"
        + "".join(f"<cell>{escape(row.get(c, ''))}</cell>" for c in columns)
        + "</row>"
        for row in rows
    )
    counted = f'<ResultSet totalRecords="{len(rows)}">'
    text = f"{counted}<results><columns>{head}</columns><rows>{body}</rows></results>"
    return Response(f"{text}</ResultSet>", mimetype="text/xml")


def chosen(
    rows: Iterable[Row], default: Sequence[str], always: Sequence[str]
) -> list[Row]:
    """Return the rows that match the query, with the columns that it names.

    A column that the server does not know is left out, as XNAT does.
    """
    columns = [c for c in request.args.get("columns", "").split(",") if c]
    wanted = (
        [*columns, *(a for a in always if a not in columns)] if columns else default
    )
    return [_cut(row, wanted) for row in rows if _matches(row)]


def _cut(row: Row, columns: Sequence[str]) -> Row:
    found = {}
    for column in columns:
        plain = column.rpartition("/")[2]
        if plain in row:
            found[column.lower() if "/" in column else column] = row[plain]
    return found


def _matches(row: Row) -> bool:
    for key, wanted in request.args.items():
        if key in NO_FILTER or key not in row:
            continue
        if not any(_alike(key, row[key], one) for one in wanted.split(",")):
            return False
    return True


def _alike(key: str, value: str, wanted: str) -> bool:
    if key == "xsiType" and wanted in GENERIC:
        return value.endswith(GENERIC[wanted])
    return fnmatchcase(value, wanted.replace("[", "[[]"))


GENERIC = {
    "xnat:imageSessionData": "SessionData",
    "xnat:experimentData": "Data",
    "xnat:imageScanData": "ScanData",
}
