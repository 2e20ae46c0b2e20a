"""Items as XNAT shows them: nested JSON, or XML."""

from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree import ElementTree

from flask import Response, jsonify, request

from standin.records import (
    CATALOG,
    Assessor,
    Experiment,
    Project,
    Resource,
    Resources,
    Scan,
    Subject,
)

Item = dict[str, Any]
XSI = "http://www.w3.org/2001/XMLSchema-instance"
NAMESPACES = {
    "xnat": "http://nrg.wustl.edu/xnat",
    "icr": "http://icr.ac.uk/icr",
    "xsi": XSI,
}
for _prefix, _uri in NAMESPACES.items():
    ElementTree.register_namespace(_prefix, _uri)


def shown(item: Item) -> Response:
    """Return an item: XML unless JSON is asked for, as XNAT does."""
    wanted = request.args.get("format", "").lower()
    accepts = request.headers.get("Accept", "")
    if wanted == "json" or (not wanted and "application/json" in accepts):
        return jsonify({"items": [item]})
    text = ElementTree.tostring(_element(item), encoding="unicode")
    return Response(
        f'<?xml version="1.0" encoding="UTF-8"?>\n{text}', mimetype="text/xml"
    )


def item_of(
    xsi_type: str, fields: Mapping[str, str], children: Iterable[Item] = ()
) -> Item:
    meta: Item = {"xsi:type": xsi_type, "isHistory": False}
    if fields.get("insert_date"):
        meta["start_date"] = fields["insert_date"]
    kept = {key: value for key, value in fields.items() if key != "insert_date"}
    return {
        "children": [child for child in children if child["items"]],
        "data_fields": {key: value for key, value in kept.items() if value},
        "meta": meta,
    }


def _child(name: str, items: Iterable[Item]) -> Item:
    return {"field": name, "items": list(items)}


def project_item(project: Project) -> Item:
    resources = _child(
        "resources/resource", map(resource_item, _all(project.resources))
    )
    return item_of("xnat:projectData", project.values, [resources])


def subject_item(subject: Subject) -> Item:
    names = {"ID": subject.id, "label": subject.label, "project": subject.project}
    children = [
        _child("resources/resource", map(resource_item, _all(subject.resources))),
        _fields(subject.fields, "xnat:subjectData_field"),
        _sharing(subject.shared),
    ]
    return item_of("xnat:subjectData", {**subject.values, **names}, children)


def experiment_item(experiment: Experiment) -> Item:
    names = {
        "ID": experiment.id,
        "label": experiment.label,
        "project": experiment.project,
        "subject_ID": experiment.subject,
    }
    children = [
        _child("scans/scan", map(scan_item, list(experiment.scans.values()))),
        _child(
            "assessors/assessor",
            (assessor_item(a, experiment) for a in list(experiment.assessors.values())),
        ),
        _child("resources/resource", map(resource_item, _all(experiment.resources))),
        _fields(experiment.fields, "xnat:experimentData_field"),
        _sharing(experiment.shared),
    ]
    return item_of(experiment.xsi_type, {**experiment.values, **names}, children)


def scan_item(scan: Scan) -> Item:
    names = {"ID": scan.id, "xnat_imagescandata_id": scan.number}
    files = _child("file", map(resource_item, _all(scan.resources)))
    return item_of(scan.xsi_type, {**scan.values, **names}, [files])


def assessor_item(assessor: Assessor, experiment: Experiment) -> Item:
    names = {
        "ID": assessor.id,
        "label": assessor.label,
        "project": assessor.values.get("project", experiment.project),
        "imageSession_ID": experiment.id,
    }
    series = [
        item_of("icr:roiCollectionData_seriesUID", {"seriesUID": uid})
        for uid in assessor.series_uids
    ]
    children = [
        _child("references/seriesUID", series),
        _child("out/file", map(resource_item, _all(assessor.resources))),
    ]
    return item_of(assessor.xsi_type, {**assessor.values, **names}, children)


def resource_item(resource: Resource) -> Item:
    fields = {
        "label": resource.label,
        "xnat_abstractresource_id": resource.id,
        "file_count": str(len(resource.files)),
        "file_size": str(sum(file.size for file in resource.files.values())),
        "URI": str(resource.directory / resource.catalog),
        **resource.values,
    }
    return item_of(CATALOG, fields)


def _fields(values: Mapping[str, str], xsi_type: str) -> Item:
    items = (
        item_of(xsi_type, {"name": name, "field": value})
        for name, value in values.items()
    )
    return _child("fields/field", items)


def _sharing(shared: Mapping[str, str]) -> Item:
    items = (
        item_of("xnat:experimentData_share", {"project": project, "label": label})
        for project, label in shared.items()
    )
    return _child("sharing/share", items)


def _all(resources: Resources) -> list[Resource]:
    return list(resources.values())


ATTRIBUTES = frozenset({"ID", "label", "project", "type", "UID", "name", "URI"})


def _element(item: Item, tag: str | None = None) -> ElementTree.Element:
    prefix, _, name = item["meta"]["xsi:type"].partition(":")
    uri = NAMESPACES.get(prefix, f"http://nrg.wustl.edu/{prefix}")
    root = tag or f"{{{uri}}}{name.removesuffix('Data')}"
    element = ElementTree.Element(root)
    if tag:
        element.set(f"{{{XSI}}}type", item["meta"]["xsi:type"])
    for key, value in item["data_fields"].items():
        if key in ATTRIBUTES:
            element.set(key, value)
        elif "/" not in key:
            ElementTree.SubElement(element, _tag(key)).text = value
    for child in item["children"]:
        _append(element, child)
    return element


def _append(parent: ElementTree.Element, child: Item) -> None:
    outer, _, inner = child["field"].partition("/")
    holder = ElementTree.SubElement(parent, _tag(outer)) if inner else parent
    for item in child["items"]:
        holder.append(_element(item, _tag(inner or outer)))


def _tag(name: str) -> str:
    return f"{{{NAMESPACES['xnat']}}}{name}"
