"""Loaded at every Python start by riskscribe.pth: waits for llamafactory's modules and extends them as they load.

Upstream has no entry points, and torchrun and LLaMA Board start new processes that know only llamafactory; a
post-import hook is what reaches them all. It costs an unrelated process one small class. RISKSCRIBE_PLUGIN=0 turns
it off.
"""

import os
import sys

# the modules riskscribe.lf.attach has something to add to
MODULES = frozenset(
    (
        "llamafactory.api.app",
        "llamafactory.api.chat",
        "llamafactory.api.protocol",
        "llamafactory.chat.hf_engine",
        "llamafactory.data.converter",
        "llamafactory.extras.ploting",
        "llamafactory.hparams.finetuning_args",
        "llamafactory.hparams.generating_args",
        "llamafactory.hparams.model_args",
        "llamafactory.model.loader",
        "llamafactory.train.callbacks",
        "llamafactory.train.sft.metric",
        "llamafactory.train.sft.trainer",
        "llamafactory.train.sft.workflow",
        "llamafactory.train.trainer_utils",
        "llamafactory.train.tuner",
        "llamafactory.webui.chatter",
        "llamafactory.webui.common",
        "llamafactory.webui.components.data",
        "llamafactory.webui.components.eval",
        "llamafactory.webui.control",
        "llamafactory.webui.engine",
        "llamafactory.webui.interface",
        "llamafactory.webui.runner",
    )
)


class _PostImport:
    """A meta-path finder that lets the ordinary finders work and runs `attach` after a module has executed."""

    riskscribe = True

    def __init__(self):
        self.busy = set()

    def find_spec(self, name, path=None, target=None):
        if name not in MODULES or name in self.busy:
            return None
        import importlib.util  # 2 ms that an unrelated process does not pay

        self.busy.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.busy.discard(name)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            try:
                from riskscribe.lf.attach import attach

                attach(module)
            except Exception as error:
                print(f"riskscribe: cannot extend {name}: {error}; it runs on without", file=sys.stderr)

        spec.loader.exec_module = exec_module
        return spec


if os.environ.get("RISKSCRIBE_PLUGIN", "1") != "0" and not any(hasattr(one, "riskscribe") for one in sys.meta_path):
    sys.meta_path.insert(0, _PostImport())
