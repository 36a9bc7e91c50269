"""Beyond one machine: work on a Ray cluster, and the partitioned greedy, which also works without Ray.

Ray is the optional extra ``ray`` and is imported when a cluster is asked for.
"""

from clinical_backend.acquisition.partitioned.merge import PartitionedSelection, select_from
from clinical_backend.acquisition.partitioned.objective import Objective
from clinical_backend.acquisition.partitioned.on_ray import select_partitioned
from clinical_backend.acquisition.partitioned.parts import Rows
from clinical_backend.acquisition.partitioned.shard import LocalShards, Shard

__all__ = ["LocalShards", "Objective", "PartitionedSelection", "Rows", "Shard", "select_from", "select_partitioned"]
