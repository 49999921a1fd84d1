"""`cog.yaml`: what is read, and what is said when it is wrong."""

from __future__ import annotations

import pytest
from load_problems import PATH, problems

from builder.config import (
    Command,
    Config,
    Mount,
    Weight,
    WeightSource,
    config_hash,
    debian_suite,
    load,
    unsupported,
)
from builder.config.words import expand, is_balanced


def test_everything() -> None:
    text = """
build:
  python_version: "3.11.2"
  python_requirements: requirements.txt
  system_packages: [ffmpeg, libgl1]
  run:
    - apt-get update
    - command: pip config set x $(cat /run/secrets/t)
      mounts: [{type: secret, id: t, target: /run/secrets/t}]
  pre_install: [echo]
  base_image: localhost:5000/base:1
  gpu: true
  cuda: 12.4
  cudnn: 9
  sdk_version: 0.17.0
environment:
  - A=1
  - B=x=y z
  - C=
run: sub/run.py:Runner
train: train.py:train
model: r8.im/me/model
concurrency: {max: 4}
weights:
  - name: base
    target: /models/base/
    source: {uri: "hf://a/b", include: ["*.bin"]}
  - name: extra
    target: /models/extra
    source: [{uri: ./x}, {uri: "https://a.invalid/b", exclude: [c]}]
"""
    config = load(text, path=PATH)
    assert config == Config(
        python_version="3.11.2",
        python_requirements="requirements.txt",
        system_packages=("ffmpeg", "libgl1"),
        commands=(
            Command(command="apt-get update"),
            Command(
                command="pip config set x $(cat /run/secrets/t)",
                mounts=(Mount(type="secret", id="t", target="/run/secrets/t"),),
            ),
        ),
        pre_install=("echo",),
        base_image="localhost:5000/base:1",
        gpu=True,
        cuda="12.4",
        cudnn="9",
        sdk_version="0.17.0",
        environment=(("A", "1"), ("B", "x=y z"), ("C", "")),
        run="sub/run.py:Runner",
        train="train.py:train",
        model="r8.im/me/model",
        concurrency=4,
        weights=(
            Weight(name="base", target="/models/base", sources=(WeightSource(uri="hf://a/b", include=("*.bin",)),)),
            Weight(
                name="extra",
                target="/models/extra",
                sources=(WeightSource(uri="./x"), WeightSource(uri="https://a.invalid/b", exclude=("c",))),
            ),
        ),
    )
    assert config.python_minor == "3.11"


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "null\n", "build:\n", "\ufeff"])
def test_empty(text: str) -> None:
    config = load(text, path=PATH)
    assert config == Config()
    assert config.python_minor is None
    assert config.warnings == ()


def test_a_version_that_is_not_given_is_said() -> None:
    config = load("build: {}\n", path=PATH)
    assert config == Config()
    assert config.warnings == ("`build.python_version` is not set: it is chosen to suit the requirements",)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("3.10", "3.10"), ('"3.10"', "3.10"), ("3.13.1", "3.13.1"), ("'3.11'", "3.11"), ("!!str 3.12", "3.12")],
)
def test_python_version_is_taken_as_it_is_written(written: str, meant: str) -> None:
    assert load(f"build:\n  python_version: {written}\n", path=PATH).python_version == meant


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("3", "must include major and minor version (e.g., '3.11')"),
        ("x.1", "invalid major version number"),
        ("3.x", "invalid minor version number"),
        ("3.7", "minimum supported Python version is 3.8"),
        ("2.7", "minimum supported Python version is 3.8"),
        ("3.15", "maximum supported Python version is 3.14"),
        ("3.99999999999999999999", "invalid minor version number"),
        ("3.11.2.1", "must be a version such as"),
        ("3.11.x", "must be a version such as"),
        ("[3.11]", "must be a string or number"),
        ("true", "must include major and minor version"),
        ("３.１１", "invalid major version number"),
    ],
)
def test_python_versions_that_are_refused(written: str, message: str) -> None:
    (line,) = problems(f"build:\n  python_version: {written}\n")
    assert line.startswith(f"build.python_version: {message}")
    assert "line 2, column 19" in line


@pytest.mark.parametrize("minor", range(8, 15))
def test_pythons_that_the_sdk_runs_on(minor: int) -> None:
    assert load(f"build: {{python_version: 3.{minor}}}\n", path=PATH).python_minor == f"3.{minor}"


def test_every_problem_at_once_in_the_order_of_the_file() -> None:
    found = problems(
        """\
build:
  python_version: 3.7
  gpu: maybe
  python_packages: {a: 1}
  cuda: 10.2
environment: ["A=1", "A=2", "PATH=x", "x", "CUDA_HOME=/"]
run: run.py
train: 3
concurrency: {max: 0}
"""
    )
    assert [line.partition(":")[0] for line in found] == [
        "build.python_version",
        "build.gpu",
        "build.python_packages",
        "build.cuda",
        "environment[1]",
        "environment[2]",
        "environment[3]",
        "environment[4]",
        "run",
        "train",
        "concurrency.max",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("run: a.py:A\npredict: b.py:B\n", "run: only one of run or predict can be set"),
        ("run: run.py\n", "run: must be in the form 'run.py:Runner'"),
        ("predict: x.py:y.py:Z\n", "predict: must be in the form 'predict.py:Predictor'"),
        ("train: ':x'\n", "train: must be in the form 'train.py:Trainer'"),
        ("build: [a]\n", "build: must be a mapping"),
        ("build:\n  run: echo\n", "build.run: must be a list"),
        ("build:\n  system_packages: ffmpeg\n", "build.system_packages: must be a list"),
        ("build:\n  system_packages: [{a: 1}]\n", "build.system_packages[0]: must be a string or number"),
        (
            "build:\n  python_requirements: r.txt\n  python_packages: [a]\n",
            "build: only one of python_packages or python_requirements can be set, not both",
        ),
        ("build:\n  cuda: '11'\n", "build.cuda: must include both major and minor versions (e.g., '11.8')"),
        ("build:\n  cuda: 10.1\n", "build.cuda: minimum supported CUDA version is 11"),
        ("build:\n  cuda: x.1\n", "build.cuda: invalid major version number"),
        ("build:\n  sdk_version: 0.15.9\n", "build.sdk_version: cog version 0.15.9 is below the minimum required"),
        ("build:\n  sdk_version: new\n", "build.sdk_version: must be a version"),
        ('build:\n  run: ["a\\nb"]\n', "build.run[0]: One of the commands in 'run' contains a new line"),
        (
            "build:\n  run:\n    - echo it's foo: bar\n",
            "build.run[0]: a command with a colon needs quotes: write `- 'echo it''s foo: bar'`",
        ),
        ("build:\n  run: [{}]\n", "build.run[0]: command is required"),
        ("build:\n  run: [{mounts: []}]\n", "build.run[0]: command is required"),
        ("build:\n  run: [{command: a, mounts: [{type: bind, id: a, target: b}]}]\n", "build.run[0].mounts[0].type"),
        ("build:\n  run: [{command: a, mounts: [{type: secret}]}]\n", "build.run[0].mounts[0]: id is required"),
        ("environment: {A: 1}\n", "environment: must be a list, with a line `- A=1` for each"),
        ("build: {gpus: true, gpu: 1}\n", "note: unknown key `build.gpus` is ignored"),
        ("environment: [A]\n", 'environment[0]: environment variable "A" is not in the KEY=VALUE format'),
        ("environment: ['1A=x']\n", 'environment[0]: environment variable "1A=x" is not in the KEY=VALUE format'),
        ("environment: [~]\n", 'environment[0]: environment variable "" is not in the KEY=VALUE format'),
        ("environment: [A=1, A=2]\n", 'environment[1]: environment variable "A" is already defined'),
        ("image: a\nmodel: b\n", "model: 'model' and 'image' cannot both be set"),
        ("model: a/b:tag\n", "model: must be a bare repository — tags and digests are not allowed"),
        ("model: a/b@sha256:1\n", "model: must be a bare repository"),
        ("model: A B\n", "model: invalid repository"),
        ("concurrency: 3\n", "concurrency: must be a mapping"),
        ("concurrency: {}\n", "concurrency.max: is required"),
        ("concurrency: {max: 1.5}\n", "concurrency.max: must be a whole number"),
        (
            "build: {python_version: '3.10'}\nconcurrency: {max: 2}\n",
            "concurrency.max: concurrency requires Python 3.11",
        ),
        ("build:\n  gpu: 'true'\n", "build.gpu: must be true or false"),
        ("build:\n  gpu: true\n  gpu: false\n", "build.gpu: is given twice, first on line 2"),
        ("- a\n", "cog.yaml: must be a mapping"),
        ("text\n", "cog.yaml: must be a mapping"),
        ('image: "a\\0b"\n', "image: must not contain a NUL character"),
    ],
)
def test_problem(text: str, line: str) -> None:
    found = problems(text)
    assert [item for item in found if item.startswith(line)], found


@pytest.mark.parametrize(
    "name", ["PATH", "LD_LIBRARY_PATH", "R8_X", "REPLICATE_A", "NV_", "PGET_X", "KUBERNETES_X", "HF_ENDPOINT"]
)
def test_reserved_variables(name: str) -> None:
    (line,) = problems(f"environment: ['{name}=1']\n")
    assert f'environment variable "{name}" is not allowed: reserved for internal use' in line


@pytest.mark.parametrize(
    ("weights", "line"),
    [
        ("{target: /a, source: {uri: x}}", "weights[0].name: name is required"),
        ("{name: A, target: /a, source: {uri: x}}", "weights[0].name: must contain only lowercase"),
        ("{name: a, source: {uri: x}}", "weights[0].target: target is required"),
        ("{name: a, target: b, source: {uri: x}}", "weights[0].target: target must be an absolute path"),
        ("{name: a, target: //, source: {uri: x}}", 'weights[0].target: target must not be the container root "/"'),
        ("{name: a, target: /a}", "weights[0].source: source is required"),
        ("{name: a, target: /a, source: []}", "weights[0].source: source is required"),
        ("{name: a, target: /a, source: {}}", "weights[0].source.uri: uri is required"),
        (
            "{name: a, target: /a, source: {uri: x, include: ['']}}",
            "weights[0].source.include[0]: pattern must not be empty",
        ),
        ("{name: a, target: /a, source: {uri: x, exclude: ['!a']}}", "weights[0].source.exclude[0]: negation patterns"),
        (
            "{name: a, target: /a, source: {uri: x, exclude: ['a\\b']}}",
            "weights[0].source.exclude[0]: patterns must use",
        ),
        (
            "{name: a, target: /a, source: {uri: x}}, {name: a, target: /b, source: {uri: x}}",
            "weights[1].name: duplicate weight name",
        ),
        (
            "{name: a, target: /a, source: {uri: x}}, {name: b, target: /a/, source: {uri: x}}",
            "weights[1].target: duplicate weight target",
        ),
        (
            "{name: a, target: /a, source: {uri: x}}, {name: b, target: /a/b, source: {uri: x}}",
            'weights[1].target: target overlaps with "/a"; weight targets must be disjoint',
        ),
    ],
)
def test_weights(weights: str, line: str) -> None:
    found = problems(f"model: a/b\nweights: [{weights}]\n")
    assert [item for item in found if item.startswith(line)], found


def test_weights_need_a_model() -> None:
    (line,) = problems("image: x\nweights: [{name: a, target: /a, source: {uri: x}}]\n")
    assert line.startswith("weights: weights require 'model' in cog.yaml")


def test_scalars_where_text_is_expected() -> None:
    config = load("image: 123\nbuild: {python_version: 3.11, system_packages: [1, true, 2020-01-01]}\n", path=PATH)
    assert config.image == "123"
    assert config.system_packages == ("1", "true", "2020-01-01")


def test_null_lists_and_carriage_returns() -> None:
    lines = ["build:", "  python_version: 3.11", "  run:", "  python_packages: ~", "environment:", "weights: null"]
    text = "".join(f"{line}\r\n" for line in [*lines, "run: run.py:Runner"])
    assert load(text, path=PATH) == Config(python_version="3.11", run="run.py:Runner")


def test_predict_is_run() -> None:
    config = load("predict: predict.py:Predictor\n", path=PATH)
    assert config.run == "predict.py:Predictor"
    assert config.warnings == ('deprecated field "predict": use "run" instead (line 1, column 10)',)


def test_unknown_keys_are_warned_of() -> None:
    config = load("build:\n  python_version: 3.11\n  python_package: [a]\n  fast: false\nexamples: []\n", path=PATH)
    assert sorted(config.warnings) == [
        "unknown key `build.fast` is ignored (line 4, column 3)",
        "unknown key `build.python_package` is ignored (line 3, column 3); did you mean `python_packages`?",
        "unknown key `examples` is ignored (line 5, column 1)",
    ]


def test_hash_depends_on_what_a_resolution_depends_on() -> None:
    def hashed(text: str, requirements: str = "numpy\n") -> str:
        return config_hash(load(text, path=PATH), requirements)

    base = "build: {python_version: 3.11}\n"
    assert hashed(base) == hashed("build: {python_version: '3.11'}\nimage: x\nenvironment: [A=1]\nrun: a.py:A\n")
    others = [
        hashed(base, "numpy\n\n"),
        hashed("build: {python_version: 3.13}\n"),
        hashed("build: {python_version: 3.11, python_packages: [a]}\n"),
        hashed("build: {python_version: 3.11, python_packages: [a, b]}\n"),
        hashed("build: {python_version: 3.11, python_packages: ['a\", \"b']}\n"),
        hashed("build: {python_version: 3.11, system_packages: [a]}\n"),
        hashed("build: {python_version: 3.11, base_image: a}\n"),
        hashed("build: {python_version: 3.11, gpu: true}\n"),
        hashed("build: {python_version: 3.11, run: [a]}\n"),
    ]
    assert len({hashed(base), *others}) == len(others) + 1


def test_unsupported() -> None:
    weights = "model: a/b\nweights: [{name: a, target: /a, source: {uri: x}}]\n"
    assert unsupported(load(weights, path=PATH)) == ["weights is not supported by this release"]
    assert unsupported(load("build: {python_version: 3.11}\nrun: a.py:A\nconcurrency: {max: 2}\n", path=PATH)) == []


def test_debian_suites() -> None:
    assert [debian_suite(v) for v in ("3.11", "3.11.2", "3.13", "3.12")] == ["bookworm", "bookworm", "trixie", None]


def test_keys_of_our_own() -> None:
    text = "build: {python_version: 3.11, platforms: [linux/arm64, linux/amd64], python_project: pyproject.toml}\n"
    config = load(text, path=PATH)
    assert config.platforms == ("linux/arm64", "linux/amd64")
    assert config.python_project == "pyproject.toml"


@pytest.mark.parametrize(
    ("build", "line"),
    [
        ("platforms: [linux/s390x]", "build.platforms[0]: must be one of linux/amd64, linux/arm64"),
        ("platforms: [linux/amd64, linux/amd64]", "build.platforms[1]: is given twice"),
        ("platforms: linux/amd64", "build.platforms: must be a list, with a line `- linux/amd64` for each"),
        ("python_project: a, python_packages: [b]", "build: only one of python_project, python_requirements and"),
        ("python_project: a, python_requirements: b", "build: only one of python_project, python_requirements and"),
    ],
)
def test_problems_with_keys_of_our_own(build: str, line: str) -> None:
    found = problems(f"build: {{{build}}}\n")
    assert [item for item in found if item.startswith(line)], found


@pytest.mark.parametrize("value", ["it's", '"x', "'x"])
def test_quotes_that_are_not_closed(value: str) -> None:
    (line,) = problems(f"environment:\n  - |-\n    A={value}\n")
    assert line.startswith('environment[0]: environment variable "A" has a quote that is not closed')


@pytest.mark.parametrize(
    ("value", "held"),
    [
        ("x y", "x y"),
        ('"x y"', "x y"),
        ("'x $A'", "x $A"),
        ('"x $A"', "x 1"),
        ("$A/b${A}b$Ab", "1/b1b"),
        ("\\$A a\\ b", "$A a b"),
        ('"a\\"b\\n"', 'a"b\\n'),
        ("${NO:-$A}${EMPTY:-d}${EMPTY-d}${A:+t}${NO+t}", "1dt"),
        ("$ $1 a$", "$ $1 a$"),
        ("C:\\", "C:\\"),
        ("x'y'\"z\"", "xyz"),
        ('{\\"a\\": 1}', '{"a": 1}'),
    ],
)
def test_values_of_variables_as_a_dockerfile_reads_them(value: str, held: str) -> None:
    assert is_balanced(value)
    assert expand(value, variables={"A": "1", "EMPTY": ""}) == held
