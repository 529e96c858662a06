"""``make bench-report``: ``docs/bench/README.md`` and its pictures from the figures in ``build/bench``.

With ``--measure`` the benchmarks whose figures are missing are run first (all of them with ``--anew``), one after another.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from scripts.bench_latency import TARGETS_MS
from scripts.bench_statistics import OUT, describe_load, percentile

DOCS: Final = Path("docs/bench")
COMMANDS: Final = {
    "latency": ("scripts.bench_latency", "landline bench latency"),
    "barge_in": ("scripts.bench_barge_in", "landline bench barge-in"),
    "peer": ("scripts.bench_peer", "make bench-peer"),
    "load": ("scripts.bench_load", "python -m scripts.bench_load"),
    "voice": ("scripts.bench_voice", "make bench-voice"),
    "failover": ("scripts.bench_failover", "python -m scripts.bench_failover"),
}
"""Figures → the module that takes them, and the command a person types."""
_LIMIT_S: Final = 1_200

Figures = Mapping[str, Any]


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; the first column is words, the rest are numbers."""
    lines = [
        f"| {' | '.join(headings)} |",
        f"|{'|'.join(['---', *['---:'] * (len(headings) - 1)])}|",
        *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows),
    ]
    return "\n".join(lines)


def number(value: float | None, unit: str = "") -> str:
    """Return a figure for a table, a dash where there is none."""
    return "–" if value is None else f"{value:.0f}{unit}"


def of(summary: Mapping[str, float] | None, key: str) -> float | None:
    """Return one entry of a summary that may be missing."""
    return None if summary is None else summary[key]


def section(name: str, title: str, figures: Figures, body: Sequence[str], picture: str = "") -> str:
    """Return one benchmark's section: where and how it was taken, then what it showed."""
    machine = figures["machine"]
    changed = ", with changes not committed" if machine["changed"] else ""
    parts = [
        f"## {title}",
        f"`{COMMANDS[name][1]}`, commit {machine['commit']}{changed}, {machine['taken_at']}.\n"
        f"{describe_load(figures['load']).capitalize()}.",
        *body,
    ]
    if picture:
        parts.append(f"![{title}]({picture})")
    return "\n\n".join(parts)


def latency(figures: Figures) -> list[str]:
    """Return what the latency benchmark showed."""
    stage_names = figures["stages"]
    rows = []
    for name in sorted(figures["gap_ms"], key=lambda one: [*TARGETS_MS, one].index(one)):
        gap = figures["gap_ms"][name]
        target = TARGETS_MS.get(name)
        medians = figures["median_stage_ms"][name]
        rows.append(
            [name, gap["n"], number(gap["p50"]), f"≤ {target}" if target else "", number(gap["p95"]),
             number(gap["p99"]), number(figures["content_gap_ms"][name]["p50"]),
             *(medians.get(stage, 0) for stage in stage_names)]
        )  # fmt: skip
    everything = figures["gap_of_all_ms"]
    unseen = figures["wire_less_ledger_ms"]
    return [
        f"Gap from the caller's last packet with speech (above -45 dBFS) to the first of the agent's, in ms; then the median"
        f" ledger to the first content. **{figures['cut_off_early']} of {figures['turns']} turns"
        f" ({figures['cut_off_early_share']} %) were cut off early**; {figures['turns_with_pause']} of them hold a pause of"
        f" 300 to 600 ms. Unanswered: {figures['unanswered']}.",
        table(["class", "turns", "P50", "target", "P95", "P99", "content P50", *stage_names], rows),
        f"All turns: P50 {number(of(everything, 'p50'))} ms, P95 {number(of(everything, 'p95'))} ms (target ≤ 2000)."
        f" Wire gap less the ledger's sum: median {number(of(unseen, 'p50'))} ms, P95 {number(of(unseen, 'p95'))} ms;"
        f" 95 % lie within {number(figures['wire_less_ledger_spread_ms'])} ms of the median.",
        *(
            [
                "Beside the stages, mean of a turn: "
                + ", ".join(f"{name} {value:g}" for name, value in figures["beside_the_stages_mean"].items())
                + "."
            ]
            if figures["beside_the_stages_mean"]
            else []
        ),
    ]


def barge_in(figures: Figures) -> list[str]:
    """Return what the barge-in benchmark showed."""
    silent = figures["silent_ms"]
    return [
        f"From the caller's first speech packet to the end of the agent's last: P50 {number(of(silent, 'p50'))} ms"
        f" (target ≤ 150), P95 {number(of(silent, 'p95'))} ms (target ≤ 250), worst {number(of(silent, 'worst'))} ms,"
        f" n = {silent['n'] if silent else 0}."
    ]


def peer(figures: Figures) -> list[str]:
    """Return what the comparison showed."""
    rows = []
    settings = []
    for name, agent in figures["agents"].items():
        gap, talk, stop = agent["gap_ms"], agent["gap_of_talk_ms"], agent["barge_in_ms"]
        ratio = agent.get("landline_by_peer", {})
        rows.append(
            [name, agent["turns"], number(of(gap, "p50")), number(of(gap, "p90")), number(of(talk, "p50")),
             number(of(talk, "p90")), f"{agent['cut_off_early_share']} %", agent["unanswered"],
             number(of(stop, "p50")), number(of(stop, "p95")), ratio.get("p50", ""), ratio.get("p90", "")]
        )  # fmt: skip
        if "what" in agent:
            chosen = ", ".join(f"{key} = {value}" for key, value in agent["settings"].items())
            settings.append(f"* `{name}`: {agent['what']} ({chosen}).")
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"]["peer"].items())
    return [
        "Both agents were rung by one caller over a raw PCM16 WebSocket at 16 kHz, by turns in the same run, with the same"
        " audio. Both had Whisper base (int8), Qwen2.5-Coder-1.5B Q4_K_M on a llama.cpp server with the same settings"
        " (one each, idle while the other is measured) and the persona and rules of the sample clinic as prompt, Piper's voice joe, Silero VAD and smart-turn v3.2. Landline had"
        " its documents and tools as well, so that questions are also shown apart from plain talk, which both answer with"
        " the language model. A gap counts to the first speech that the caller's playout lets be heard; a turn in which"
        " the agent spoke before its caller had finished is cut off early and has no gap.",
        table(
            [
                "agent",
                "turns",
                "gap P50",
                "P90",
                "talk P50",
                "talk P90",
                "cut off early",
                "unanswered",
                "barge-in P50",
                "P95",
                "Landline / it, P50",
                "P90",
            ],
            rows,
        ),
        "\n".join(settings),
        f"Versions: {versions}. Targets: at most 0.5 of `defaults`, at most 0.7 of the best tuned one, P90 at most 0.5.",
    ]


def load(figures: Figures) -> list[str]:
    """Return what the load benchmark showed."""
    rows = [
        [step["calls"], step["turns"], number(of(step["gap_ms"], "p50")), str(figures["configured_silence_ms"]),
         number(of(step["overhead_ms"], "p50")), number(of(step["overhead_ms"], "p95")), f"{step['mb_per_call']:.2f}",
         f"{step['media_lateness_ms'].get('p99', 0):.1f}", f"{step['callers_lateness_ms'].get('p99', 0):.1f}",
         f"{step['cores'].get('agent', 0):.2f}", f"{step['cores'].get('sip', 0):.2f}",
         f"{step['cores'].get('callers', 0):.2f}", f"{step['refused']} / {step['broken']} / {step['unanswered']}"]
        for step in figures["steps"]
    ]  # fmt: skip
    parts = [
        f"* {step['calls']} calls: "
        + ", ".join(
            f"{name} {value:.0f} (P95 {step['parts_p95_ms'][name]:.0f})"
            for name, value in step["parts_p50_ms"].items()
        )
        for step in figures["steps"]
    ]
    bare = figures["bare_lateness_ms"]
    kept = figures["soak"]
    return [
        "One agent process with recogniser, turn detector, language model and voice scripted and instant, VAD and media real;"
        " callers in processes of their own on the same two cores. Overhead is the gap on the wire less the silence that"
        " the settings require after such a turn (targets: P50 ≤ 90 ms at few calls, P95 ≤ 150 ms at 100, ≤ 5 MB a call).",
        table(
            [
                "calls",
                "turns",
                "gap P50",
                "silence",
                "overhead P50",
                "P95",
                "MB a call",
                "media late p99",
                "callers late p99",
                "agent cores",
                "sip cores",
                "callers' cores",
                "refused / broken / unanswered",
            ],
            rows,
        ),
        "Parts of the overhead, median and P95 in ms:\n\n" + "\n".join(parts),
        f"The VAD alone hears speech for {percentile(figures['vad_lags_ms'], 0.5):.0f} ms (median of the lines) after its last"
        " sample.",
        f"A bare ticker in a process that does nothing else was late by {bare['before']['p99']:.1f} ms (p99) before and"
        f" {bare['after']['p99']:.1f} ms after.",
        *(
            [
                f"{kept['calls']} calls one after another, {kept['refused']} refused, {kept['broken']} broken; the agent's"
                f" memory: "
                + ", ".join(f"{mb:.0f} MB after {done}" for done, mb in kept["agent_mb_by_calls"])
                + f"; {kept['kb_per_call_after_warming']:+.1f} kB a call after the first fifth."
            ]
            if kept
            else []
        ),
    ]


def voice(figures: Figures) -> list[str]:
    """Return what voicebench printed."""
    return [
        f"voicebench {figures['version']} (Apache-2.0) with its stock `websocket` adapter, in an environment of its own,"
        f" offline; {figures['sessions']} sessions. Its figures come from an energy detector on the audio.",
        f"```text\n{without_paths(figures['printed'])}\n```",
    ]


def without_paths(printed: str) -> str:
    """Return what a tool printed less where on this machine it left its files."""
    return "\n".join(line for line in printed.strip().splitlines() if "written to" not in line).strip()


def failover(figures: Figures) -> list[str]:
    """Return how calls survive their agent."""
    rows = [
        [name, summary["n"], number(summary["p50"]), number(summary["worst"])]
        for name, summary in figures["resumed_ms"].items()
        if summary
    ]
    sizes = ", ".join(f"{name} {size}" for name, size in figures["resident_mb"].items())
    return [
        "From the agent's death to the voice of the one that took over, in ms (target ≤ 3000):",
        table(["agent", "n", "P50", "worst"], rows),
        f"Resident memory in MB: {sizes}.",
    ]


SECTIONS: Final = (
    ("latency", "Response gap", latency, "latency.png"),
    ("barge_in", "Barge-in", barge_in, "barge_in.png"),
    ("peer", "Beside Pipecat", peer, "peer.png"),
    ("load", "Many calls in one agent process", load, "load.png"),
    ("voice", "voicebench", voice, ""),
    ("failover", "When the agent dies", failover, ""),
)


def report(found: Mapping[str, Figures]) -> str:
    """Return the whole report for the figures that there are."""
    first = next(iter(found.values()))["machine"]
    parts = [
        "# Measured",
        "Written by `make bench-report` from the figures of the benchmarks; not edited by hand.",
        f"Machine: {first['cpu']}, {first['cores']} cores, {first['memory_gb']} GB, Linux {first['kernel']}, Python"
        f" {first['python']}, no GPU. All models are embedded: Whisper base int8, Qwen2.5-Coder-1.5B Q4_K_M, Piper.",
        *(
            section(name, title, found[name], write(found[name]), picture)
            for name, title, write, picture in SECTIONS
            if name in found
        ),
    ]
    missing = [f"{title} (`{COMMANDS[name][1]}`)" for name, title, _, _ in SECTIONS if name not in found]
    if missing:
        parts.append(f"Not measured for this report: {', '.join(missing)}.")
    return "\n\n".join(parts) + "\n"


def measure(out: Path, *, anew: bool) -> None:
    """Run the benchmarks that have no figures, or all. One that fails is told and left out."""
    for name, (module, _) in COMMANDS.items():
        if (out / f"{name}.json").is_file() and not anew:
            print(f"{name}: figures are there", flush=True)
            continue
        print(f"{name}: measuring …", flush=True)
        child = subprocess.Popen([sys.executable, "-m", module, "--out", str(out)])
        try:
            outcome = f"ended with {child.wait(_LIMIT_S)}"
        except subprocess.TimeoutExpired:
            # SIGTERM, so that it stops what it started.
            child.terminate()
            child.wait(60)
            outcome = f"took longer than {_LIMIT_S} s"
        print(f"{name}: {outcome}", flush=True)


def main() -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="run the benchmarks that have no figures yet")
    parser.add_argument("--anew", action="store_true", help="with --measure: run all of them again")
    parser.add_argument("--out", type=Path, default=OUT, help="where the figures are")
    parser.add_argument("--docs", type=Path, default=DOCS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.out, anew=arguments.anew)
    found = {
        name: json.loads(path.read_text())
        for name in COMMANDS
        if (path := arguments.out / f"{name}.json").is_file()
    }
    if not found:
        raise SystemExit(f"{arguments.out} holds no figures; run with --measure")
    arguments.docs.mkdir(parents=True, exist_ok=True)
    for name, _, _, picture in SECTIONS:
        if name in found and picture and (arguments.out / picture).is_file():
            shutil.copy(arguments.out / picture, arguments.docs / picture)
    (arguments.docs / "README.md").write_text(report(found), encoding="utf-8")
    print(f"{arguments.docs / 'README.md'}: {', '.join(found)}")


if __name__ == "__main__":
    main()
