"""AWQ by AutoAWQ: `python worker.py JOB.json`, run by the python of requirements.lock. Imports nothing of riskscribe.

JOB: model (a checkpoint folder that transformers 4.51 reads), out (an empty folder), blocks (token ids, all of one
length), bits, group_size, clip, seed. Writes the weights and config.json of the quantized model into `out`.
"""

import functools
import json
import sys


def restored_weights(compute_best_scale):
    """AutoAWQ's search for the best scale, with the weights truly restored after every try.

    It keeps the original weights as `v.cpu()` of the module's state, which on a CPU are no copies but the weights
    themselves: each try scales and rounds what the last one left, it finishes without an error, and the model is
    ruined (a perplexity of thousands). Upstream: awq/quantize/quantizer.py, AwqQuantizer._compute_best_scale.
    """

    @functools.wraps(compute_best_scale)
    def search(self, x, w_mean, x_mean, module2inspect, *rest, **options):
        state = module2inspect.state_dict
        module2inspect.state_dict = lambda: {name: value.clone() for name, value in state().items()}
        try:
            return compute_best_scale(self, x, w_mean, x_mean, module2inspect, *rest, **options)
        finally:
            del module2inspect.state_dict

    return search


def main(path: str) -> None:
    """Quantize as the job file says."""
    import torch
    from awq import AutoAWQForCausalLM
    from awq.quantize.quantizer import AwqQuantizer

    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    torch.manual_seed(job["seed"])
    AwqQuantizer._compute_best_scale = restored_weights(AwqQuantizer._compute_best_scale)
    gpu = torch.cuda.is_available()
    model = AutoAWQForCausalLM.from_pretrained(
        job["model"],
        # a CPU multiplies half precision slowly, and sums in it badly
        torch_dtype=torch.float16 if gpu else torch.float32,
        device_map="auto" if gpu else "cpu",
        trust_remote_code=False,
    )
    layout = {"w_bit": job["bits"], "q_group_size": job["group_size"], "zero_point": True, "version": "GEMM"}
    model.quantize(
        None,
        quant_config=layout,
        calib_data=job["blocks"],
        max_calib_samples=len(job["blocks"]),
        max_calib_seq_len=len(job["blocks"][0]),
        apply_clip=job["clip"],
    )
    model.model.half()
    model.model.config.torch_dtype = torch.float16
    model.save_quantized(job["out"])


if __name__ == "__main__":
    main(sys.argv[1])
