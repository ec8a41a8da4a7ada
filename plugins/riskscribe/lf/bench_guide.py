"""`make bench`: tokens/s of the real base held to the report's schema against free, alternated in one run.

Beside wall time the processor time of the process: on a busy machine the second is what tells the two apart.
"""

import statistics
import time

ROWS, STEPS, PAIRS = 8, 96, 5


class Clock:
    """A stopping criterion that stops nothing and notes when every step was over: wall and processor seconds."""

    def __init__(self):
        self.times: list[tuple[float, float]] = []

    def __call__(self, input_ids, scores, **options):
        import torch

        self.times.append((time.perf_counter(), time.process_time()))
        return torch.zeros(len(input_ids), dtype=torch.bool)

    def spent(self) -> tuple[float, float]:
        """Wall and processor seconds of every step but the first, which reads the prompts."""
        return tuple(end - begun for begun, end in zip(self.times[0], self.times[-1], strict=True))


class Timed:
    """A logits processor and the processor seconds of every call."""

    def __init__(self, processor):
        self.processor, self.seconds = processor, []

    def keep(self, rows: list[int]) -> None:
        self.processor.keep(rows)

    def __call__(self, input_ids, scores):
        begun = time.process_time()
        found = self.processor(input_ids, scores)
        self.seconds.append(time.process_time() - begun)
        return found


def main() -> None:
    """Print tokens/s of both, pair by pair, the ratio, and what the grammar itself takes a step."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessorList, StoppingCriteriaList

    from riskscribe import prompt
    from riskscribe.data.rows import read_rows
    from riskscribe.lf import decode
    from riskscribe.lf.guide import Guide
    from riskscribe.schema import SCHEMA_FILE

    base = "exports/base/smollm2_135m"
    tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(base, trust_remote_code=False, dtype="auto").eval()
    decode.install()
    begun = time.perf_counter()
    guide = Guide.read(tokenizer, str(SCHEMA_FILE))
    print(f"grammar compiled in {time.perf_counter() - begun:.2f} s, once a process")
    cases = [row.case for row in read_rows("datasets/risk_report/v1/test_quick.jsonl")[:ROWS]]
    # the ends of real prompts, of unequal lengths: reading whole ones costs both sides the same, and most of the time
    asked = [
        tokenizer.apply_chat_template(prompt.messages(one), add_generation_prompt=True)[-(60 + 30 * i) :]
        for i, one in enumerate(cases)
    ]
    given = tokenizer.pad({"input_ids": asked}, return_tensors="pt")
    print(f"{ROWS} prompts of {min(map(len, asked))} to {max(map(len, asked))} tokens, {STEPS} tokens an answer")

    def run(processors: list) -> tuple[float, float]:
        clock = Clock()
        model.generate(
            **given, max_new_tokens=STEPS, do_sample=False, eos_token_id=None, pad_token_id=tokenizer.pad_token_id,
            logits_processor=LogitsProcessorList(processors), stopping_criteria=StoppingCriteriaList([clock]),
        )  # fmt: skip
        return clock.spent()

    ratios: list[tuple[float, float]] = []
    grammar: list[float] = []
    steps: list[float] = []
    for pair in range(PAIRS):
        spent = {}
        for name in sorted(("free", "constrained"), reverse=pair % 2 == 0):
            timed = Timed(guide.processor())
            spent[name] = run([timed] if name == "constrained" else [])
            grammar += timed.seconds[1:]
        ratios.append(tuple(a / b for a, b in zip(spent["free"], spent["constrained"], strict=True)))
        steps.append(spent["free"][1] / (STEPS - 1))
        rates = ", ".join(f"{name} {ROWS * (STEPS - 1) / one[0]:.0f}" for name, one in spent.items())
        print(f"pair {pair + 1}: {rates} tokens/s; a step {1e3 * steps[-1]:.1f} ms of processor time free")
    for kind, found in zip(("wall", "processor time"), zip(*ratios, strict=True), strict=True):
        print(f"constrained / free by {kind}: median {statistics.median(found):.3f}, "
              f"from {min(found):.3f} to {max(found):.3f}")  # fmt: skip
    mean = statistics.mean(grammar)
    print(f"the grammar: {1e3 * mean:.2f} ms a step on average (longest {1e3 * max(grammar):.1f}), "
          f"{100 * mean / statistics.median(steps):.1f} % of a free step")  # fmt: skip


if __name__ == "__main__":
    main()
