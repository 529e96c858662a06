"""``landline doctor``: everything that would keep Landline from answering, and what tests would miss."""

from __future__ import annotations

import shutil
from typing import Final

from server.config import Settings
from server.errors import ConfigurationError, LandlineError
from server.preflight import address_to_ring, check_all, read_agent
from server.process_configs import build
from server.run_directory import running_owner

_TEST_PROGRAMS: Final = {
    "sipp": "sip-tester",
    "baresip": "baresip-core",
    "sipsak": "sipsak",
    "sox": "sox",
    "ffmpeg": "ffmpeg",
}


def examine(settings: Settings) -> int:
    """Print what was found; return 0 when calls could be answered."""
    problems: list[LandlineError] = []
    owner = running_owner(settings.run_path)
    try:
        identity = read_agent(settings)
        configs = build(settings, identity, llm_port=settings.llm.port)
        print(f"agent       {identity.name}, {settings.agent.folder}")
        if owner is None:
            problems += check_all(settings, configs.tts_python)
    except ConfigurationError as error:
        problems.append(error)
    print(f"models      {settings.models_directory}")
    print(f"data        {settings.data_directory}")
    print(f"ring        sip:{settings.sip.user}@{address_to_ring(settings)}:{settings.sip.port}")
    print(f"running     {f'yes, process {owner}' if owner is not None else 'no'}")
    for program, package in _TEST_PROGRAMS.items():
        if shutil.which(program) is None:
            print(f"tests       {program} is missing (apt package {package}); only tests need it")
    for problem in problems:
        for line in str(problem).splitlines():
            print(f"problem     {line}")
    print("Landline would answer calls." if not problems else f"{len(problems)} problems.")
    return 1 if problems else 0
