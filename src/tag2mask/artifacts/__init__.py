"""What steps leave on disk: atomic files, maps, labels, manifests and hashes."""

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
    "CommandRecord",
    "Manifest",
    "StoredMaps",
    "atomic_write_bytes",
    "atomic_write_json",
    "atomic_write_text",
    "collect_versions",
    "git_commit",
    "load_confidence",
    "load_labels",
    "load_maps",
    "load_regions",
    "manifest_hash",
    "read_manifest",
    "require_step",
    "safe_join",
    "save_confidence",
    "save_labels",
    "save_maps",
    "save_regions",
    "sha256_file",
    "sha256_json",
    "voc_palette",
    "write_manifest",
]
