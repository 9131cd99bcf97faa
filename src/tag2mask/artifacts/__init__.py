"""What steps leave on disk: atomic files, maps, labels, manifests and hashes."""

from tag2mask.artifacts.features import load_features, load_sub_labels, save_features, save_sub_labels
from tag2mask.artifacts.files import (
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    safe_join,
    sha256_file,
    sha256_json,
)
from tag2mask.artifacts.labels import (
    load_confidence,
    load_labels,
    save_confidence,
    save_labels,
    voc_palette,
)
from tag2mask.artifacts.manifest import (
    KINDS,
    RESULT_SUFFIXES,
    CommandRecord,
    Manifest,
    collect_versions,
    git_commit,
    manifest_hash,
    read_manifest,
    require_step,
    write_manifest,
)
from tag2mask.artifacts.maps import StoredMaps, load_maps, save_maps
from tag2mask.artifacts.regions import load_regions, save_regions

__all__ = [
    "KINDS",
    "RESULT_SUFFIXES",
    "CommandRecord",
    "Manifest",
    "StoredMaps",
    "atomic_write_bytes",
    "atomic_write_json",
    "atomic_write_text",
    "collect_versions",
    "git_commit",
    "load_confidence",
    "load_features",
    "load_labels",
    "load_maps",
    "load_regions",
    "load_sub_labels",
    "manifest_hash",
    "read_manifest",
    "require_step",
    "safe_join",
    "save_confidence",
    "save_features",
    "save_labels",
    "save_maps",
    "save_regions",
    "save_sub_labels",
    "sha256_file",
    "sha256_json",
    "voc_palette",
    "write_manifest",
]
