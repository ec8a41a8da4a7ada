"""Ray: workers that fit the machine, and an environment without secrets."""

import re
from collections.abc import Mapping
from functools import wraps
from types import ModuleType

# SECRET, PASSWORD, TOKEN anywhere in a name (PGPASSWORD); the short words as a part of it (WANDB_API_KEY, not MONKEY)
_SECRET = re.compile(
    r"SECRET|PASSW|PASSPHRASE|CREDENTIAL|TOKEN|CONNECTION_STRING"
    r"|(?:^|_)(?:API_?|ACCESS_?|PRIVATE_?)?(?:KEYS?|AUTH|PAT|DSN)(?:_|$)|_PWD$",
    re.IGNORECASE,
)
# no secret: how tokenizers work
_HARMLESS = frozenset(("TOKENIZERS_PARALLELISM",))
# a value that carries one: https://user:password@host
_IN_ADDRESS = re.compile(r"://[^/\s@]*:[^/\s@]+@")
CORES = 10  # upstream's wish for every worker


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables whose name does not tell of a secret and whose value holds no password of an address."""
    return {
        name: value
        for name, value in environment.items()
        if name in _HARMLESS or not (_SECRET.search(name) or _IN_ADDRESS.search(value))
    }


def fit_ray(module: ModuleType) -> None:
    """Ray on a CPU, no secret in what it keeps. Upstream: train/trainer_utils.py, get_placement_group and beside it.

    Upstream reserves a bundle of ten cores for every core of the cluster, which never becomes ready; and it puts the
    whole environment, keys included, into runtime_env, which Ray logs, keeps and shows on its dashboard. Workers get
    as many cores as there are for each, ten at most; a node gives them its own secrets. The head's address is read
    from the cluster itself: upstream asks the dashboard, which the bare package `ray` has not.
    """
    make_group, make_config = module.get_placement_group, module.get_ray_remote_config_for_worker
    find_head = module.get_ray_head_node_ip

    @wraps(make_group)
    def get_placement_group(num_workers):
        import ray
        from ray.util.placement_group import placement_group

        device = module.get_device_name().upper()
        cores = int(ray.cluster_resources().get("CPU", 1)) // num_workers
        bundle = {"CPU": max(1, min(CORES, cores))} | ({} if device == "CPU" else {device: 1})
        return placement_group([bundle] * num_workers, strategy="PACK"), bundle

    @wraps(make_config)
    def get_ray_remote_config_for_worker(placement_group, bundle_idx, rank, world_size, master_addr, master_port, env):
        env = without_secrets(env)
        found = make_config(placement_group, bundle_idx, rank, world_size, master_addr, master_port, env)
        return found | {"num_cpus": placement_group.bundle_specs[bundle_idx]["CPU"]}

    @wraps(find_head)
    def get_ray_head_node_ip():
        import ray

        alive = (one for one in ray.nodes() if one["Alive"])
        return next(one["NodeManagerAddress"] for one in alive if "node:__internal_head__" in one["Resources"])

    module.get_placement_group = get_placement_group
    module.get_ray_remote_config_for_worker = get_ray_remote_config_for_worker
    module.get_ray_head_node_ip = get_ray_head_node_ip
