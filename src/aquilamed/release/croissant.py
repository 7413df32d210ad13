"""Croissant metadata (version 1.1, http://mlcommons.org/croissant/1.1): the files with their hashes, and what a record holds.

One FileObject per file; per config and split one record set. A split of several shards is read through a FileSet.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from aquilamed.release.tables import DataFile, Written

VERSION = "http://mlcommons.org/croissant/1.1"
MEDIA = {"parquet": "application/x-parquet", "jsonl": "application/jsonlines"}
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_TYPES = {"string": "sc:Text", "bool": "sc:Boolean", "double": "sc:Float", "float": "sc:Float"}


def metadata(
    about: Mapping[str, Any], written: Written, sums: Mapping[str, str], folder: Path, columns: Mapping[str, str]
) -> dict[str, Any]:
    """The content of croissant.json.

    Args:
        about: name, description, license (addresses or names), version, datePublished, citeAs, keywords, inLanguage.
        sums: path → SHA-256 of the data files.
        folder: the released folder, for the files' sizes.
        columns: column → what it holds.
    """
    data = [_file(f, sums[f.path], (folder / f.path).stat().st_size) for f in written.files]
    groups = written.tables()
    sets = [_file_set(config, split, files) for (config, split), files in groups.items() if len(files) > 1]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        **{k: v for k, v in about.items() if v},
        "isLiveDataset": False,
        "distribution": data + sets,
        "recordSet": [
            _record_set(config, split, files, written.schemas[config], columns)
            for (config, split), files in groups.items()
        ],
    }


def _file(file: DataFile, digest: str, size: int) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file.path,
        "name": file.path,
        "description": f"Config {file.config}, split {file.split}.",
        "contentUrl": file.path,
        "contentSize": f"{size} B",
        "encodingFormat": MEDIA[file.format],
        "sha256": digest,
    }


def _file_set(config: str, split: str, files: Sequence[DataFile]) -> dict[str, Any]:
    first = files[0]
    return {
        "@type": "cr:FileSet",
        "@id": f"files-{config}-{split}",
        "name": f"files-{config}-{split}",
        "description": f"All files of config {config}, split {split}.",
        "encodingFormat": MEDIA[first.format],
        "includes": f"{first.path.rpartition('/')[0]}/{split}-*.{first.format}",
    }


def _record_set(
    config: str, split: str, files: Sequence[DataFile], schema: pa.Schema, columns: Mapping[str, str]
) -> dict[str, Any]:
    name = f"{config}-{split}"
    where = {"fileObject": {"@id": files[0].path}} if len(files) == 1 else {"fileSet": {"@id": f"files-{name}"}}
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"{sum(f.rows for f in files)} records of config {config}, split {split}.",
        "key": {"@id": f"{name}/id"},
        "field": [_field(f"{name}/{f.name}", f, f.name, where, columns.get(f.name, "")) for f in schema],
    }


def _field(
    identity: str, field: Any, column: str, where: dict[str, Any], description: str, path: str = ""
) -> dict[str, Any]:
    kind, depth = field.type, 0
    while pa.types.is_list(kind):
        kind, depth = kind.value_type, depth + 1
    found: dict[str, Any] = {"@type": "cr:Field", "@id": identity, "name": identity.rpartition("/")[2]}
    found |= {"description": description} if description else {}
    if depth:
        found |= {"isArray": True, "arrayShape": ",".join(["-1"] * depth)}
    if pa.types.is_struct(kind):
        inner = [_field(f"{identity}/{f.name}", f, column, where, "", f.name) for f in kind]
        return found | {"subField": inner}
    source = {**where, "extract": {"column": column}} | ({"transform": {"jsonPath": path}} if path else {})
    return found | {
        "dataType": "sc:Integer" if pa.types.is_integer(kind) else _TYPES.get(str(kind), "sc:Text"),
        "source": source,
    }
