"""A small model of XNAT's data types, as XML schemas that a client can build on.

Only the types and fields that this archive holds; the structure (extensions, resource
and field lists, display identifiers) is what the clients look for.
"""

from collections.abc import Mapping

SPACES = (
    'xmlns:xs="http://www.w3.org/2001/XMLSchema" '
    'xmlns:xdat="http://nrg.wustl.edu/xdat" xmlns:xnat="http://nrg.wustl.edu/xnat"'
)
OPEN = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<xs:schema {spaces} '
    'targetNamespace="http://nrg.wustl.edu/{name}" elementFormDefault="qualified" '
    'attributeFormDefault="unqualified">\n'
)
EXTENSION = {
    "experimentData": "",
    "subjectAssessorData": "experimentData",
    "imageSessionData": "subjectAssessorData",
    "mrSessionData": "imageSessionData",
    "ctSessionData": "imageSessionData",
    "petSessionData": "imageSessionData",
    "usSessionData": "imageSessionData",
    "derivedData": "experimentData",
    "imageAssessorData": "derivedData",
    "mrAssessorData": "imageAssessorData",
    "qcAssessmentData": "imageAssessorData",
    "imageScanData": "",
    "mrScanData": "imageScanData",
    "ctScanData": "imageScanData",
    "petScanData": "imageScanData",
    "usScanData": "imageScanData",
    "segScanData": "imageScanData",
    "scScanData": "imageScanData",
    "otherDicomScanData": "imageScanData",
    "projectData": "",
    "subjectData": "",
    "abstractResource": "",
    "resource": "abstractResource",
    "resourceCatalog": "resource",
}
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "experimentData": ("ID", "project", "label"),
    "imageSessionData": ("UID",),
    "imageScanData": ("ID", "type", "UID"),
    "projectData": ("ID", "secondary_ID"),
    "subjectData": ("ID", "project", "label", "group"),
    "abstractResource": ("label",),
    "resource": ("URI", "format", "content"),
}
TEXTS: Mapping[str, tuple[str, ...]] = {
    "experimentData": ("date", "time", "note", "acquisition_site"),
    "subjectAssessorData": ("subject_ID", "age"),
    "imageSessionData": ("modality", "scanner", "operator", "session_type"),
    "mrSessionData": ("coil", "fieldStrength", "marker", "stabilization"),
    "imageAssessorData": ("imageSession_ID",),
    "imageScanData": (
        "image_session_ID",
        "note",
        "quality",
        "condition",
        "series_description",
        "modality",
        "frames",
    ),
    "mrScanData": ("coil", "fieldStrength", "marker"),
    "projectData": ("name", "description", "keywords"),
    "abstractResource": ("note", "file_count", "file_size"),
}
LISTS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "experimentData": (("resources", "resource", "abstractResource"),),
    "imageSessionData": (
        ("scans", "scan", "imageScanData"),
        ("assessors", "assessor", "imageAssessorData"),
    ),
    "subjectData": (
        ("resources", "resource", "abstractResource"),
        ("experiments", "experiment", "subjectAssessorData"),
    ),
    "projectData": (("resources", "resource", "abstractResource"),),
}
LABELLED = frozenset({"experimentData", "subjectData", "abstractResource"})
IDENTIFIED = frozenset({"projectData", "imageScanData"})
FIELDS = """<xs:element name="fields" minOccurs="0"><xs:complexType><xs:sequence>
<xs:element name="field" minOccurs="0" maxOccurs="unbounded">
<xs:annotation><xs:appinfo><xdat:element displayIdentifiers="name"/></xs:appinfo>
</xs:annotation><xs:complexType><xs:simpleContent><xs:extension base="xs:string">
<xs:attribute name="name" type="xs:string" use="required"/>
</xs:extension></xs:simpleContent></xs:complexType></xs:element>
</xs:sequence></xs:complexType></xs:element>"""
WITH_FIELDS = frozenset({"experimentData", "subjectData", "projectData"})


def schema(name: str) -> str | None:
    """Return the XML of a schema, None for one that is not there."""
    if name == "xnat":
        body = "".join(map(_type, EXTENSION))
    elif name == "xdat":
        body = (
            '<xs:complexType name="security"><xs:sequence>'
            '<xs:element name="system" type="xs:string"/>'
            "</xs:sequence></xs:complexType>\n"
        )
    else:
        return None
    return OPEN.format(spaces=SPACES, name=name) + body + "</xs:schema>\n"


def _type(name: str) -> str:
    base = EXTENSION[name]
    inner = f"<xs:sequence>{_elements(name)}</xs:sequence>{_attributes(name)}"
    if base:
        inner = (
            f'<xs:complexContent><xs:extension base="xnat:{base}">{inner}'
            "</xs:extension></xs:complexContent>"
        )
    return (
        f'<xs:complexType name="{name}">{_identifier(name)}{inner}</xs:complexType>\n'
    )


def _identifier(name: str) -> str:
    shown = "label" if name in LABELLED else "ID" if name in IDENTIFIED else ""
    if not shown:
        return ""
    return (
        f'<xs:annotation><xs:appinfo><xdat:element displayIdentifiers="{shown}"/>'
        "</xs:appinfo></xs:annotation>"
    )


def _elements(name: str) -> str:
    texts = "".join(
        f'<xs:element name="{text}" type="xs:string" minOccurs="0"/>'
        for text in TEXTS.get(name, ())
    )
    lists = "".join(_list(*each) for each in LISTS.get(name, ()))
    return texts + lists + (FIELDS if name in WITH_FIELDS else "")


def _list(outer: str, inner: str, of: str) -> str:
    return (
        f'<xs:element name="{outer}" minOccurs="0"><xs:complexType><xs:sequence>'
        f'<xs:element name="{inner}" type="xnat:{of}" minOccurs="0" '
        'maxOccurs="unbounded"/></xs:sequence></xs:complexType></xs:element>'
    )


def _attributes(name: str) -> str:
    return "".join(
        f'<xs:attribute name="{attribute}" type="xs:string"/>'
        for attribute in ATTRIBUTES.get(name, ())
    )
