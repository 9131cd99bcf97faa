"""What steps leave on disk: kinds of artifacts, manifests, hashes and atomic files."""

from tag2mask.artifacts.alarms import read_alarms
from tag2mask.artifacts.configurations import backbone_of
from tag2mask.artifacts.features import load_features, load_sub_labels, save_features, save_sub_labels
from tag2mask.artifacts.files import (
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    disk_trouble,
    read_json,
    remove_temporaries,
    require_own,
    safe_join,
    sha256_file,
    sha256_json,
)
from tag2mask.artifacts.kinds import (
    SCORERS,
    Kind,
    ResultFiles,
    find_kind,
    kind_names,
    register_kind,
)
from tag2mask.artifacts.labels import (
    load_confidence,
    load_labels,
    save_confidence,
    save_labels,
    voc_palette,
)
from tag2mask.artifacts.manifest import (
    CommandRecord,
    Manifest,
    checkpoint_path,
    manifest_hash,
    read_manifest,
    require_step,
    write_manifest,
)
from tag2mask.artifacts.maps import load_maps, save_maps
from tag2mask.artifacts.names import (
    LAST_CHECKPOINT,
    METRICS_NAME,
    REPORT_NAME,
    RUN_NAME,
    SCORE_NAME,
    SCORECARD_NAME,
    SCRIPTS,
    TRAINING_SCRIPTS,
    VARIANTS,
    config_name,
)
from tag2mask.artifacts.provenance import collect_versions, git_commit
from tag2mask.artifacts.regions import load_regions, save_regions

__all__ = [
    "LAST_CHECKPOINT",
    "METRICS_NAME",
    "REPORT_NAME",
    "RUN_NAME",
    "SCORECARD_NAME",
    "SCORERS",
    "SCORE_NAME",
    "SCRIPTS",
    "TRAINING_SCRIPTS",
    "VARIANTS",
    "CommandRecord",
    "Kind",
    "Manifest",
    "ResultFiles",
    "atomic_write_bytes",
    "atomic_write_json",
    "atomic_write_text",
    "backbone_of",
    "checkpoint_path",
    "collect_versions",
    "config_name",
    "disk_trouble",
    "find_kind",
    "git_commit",
    "kind_names",
    "load_confidence",
    "load_features",
    "load_labels",
    "load_maps",
    "load_regions",
    "load_sub_labels",
    "manifest_hash",
    "read_alarms",
    "read_json",
    "read_manifest",
    "register_kind",
    "remove_temporaries",
    "require_own",
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
