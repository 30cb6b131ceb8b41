# The project's commands. Run them with ./dev, which creates .venv first.

set positional-arguments
export PATH := justfile_directory() / ".venv/bin" + ":" + env("PATH")

engine := env("ENGINE", `command -v docker || command -v podman || echo no-container-engine`)

[private]
default:
    @just --list --unsorted

# Run unit, integration and acceptance tests in three processes, since most tests mostly wait.
test *ARGS:
    pytest --numprocesses 3 --dist loadfile "$@"

newest_tests := "tests/unit tests/simulation/test_faults_of_runs.py tests/integration/test_executor.py tests/integration/test_modules.py tests/integration/test_scripts.py tests/integration/test_endpoint.py tests/integration/test_aws.py"

# Run tests with the newest versions that pip installs, in a separate environment; GDAL is copied from .venv.
test-newest *ARGS:
    test -x .venv-newest/bin/python || python -m venv .venv-newest
    .venv-newest/bin/python -m pip install --quiet --upgrade pip
    .venv-newest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable . --group dev
    cp -r .venv/lib/python3*/site-packages/osgeo .venv/lib/python3*/site-packages/*gdal* .venv-newest/lib/python3*/site-packages/
    .venv-newest/bin/python -m pytest --numprocesses 3 --dist loadfile {{ newest_tests }} "$@"

lowest_tests := "tests/unit tests/simulation/test_faults_of_runs.py tests/integration/test_executor.py"

# Run tests with the lowest versions that pyproject.toml allows, in a separate environment; uv selects them.
test-lowest *ARGS:
    test -x .venv-lowest/bin/uv || { python -m venv .venv-lowest && .venv-lowest/bin/python -m pip install --quiet uv; }
    .venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct --editable . --group dev
    cp -r .venv/lib/python3*/site-packages/osgeo .venv/lib/python3*/site-packages/*gdal* .venv-lowest/lib/python3*/site-packages/
    .venv-lowest/bin/python -m pytest --numprocesses 3 --dist loadfile {{ lowest_tests }} "$@"

# Run the unit tests with another Python, in a separate environment: `just test-python python3.13`.
test-python PYTHON *ARGS:
    test -x .venv-{{ file_name(PYTHON) }}/bin/python || "$1" -m venv .venv-{{ file_name(PYTHON) }}
    .venv-{{ file_name(PYTHON) }}/bin/python -m pip install --quiet --upgrade pip
    .venv-{{ file_name(PYTHON) }}/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[raster]" --group dev
    shift && .venv-{{ file_name(PYTHON) }}/bin/python -m pytest --numprocesses 3 --dist loadfile tests/unit "$@"

# Install ministack, an emulator on which tests/chaos also runs, in a separate environment, since it pins botocore.
ministack:
    test -x .venv-ministack/bin/ministack || { python -m venv .venv-ministack && .venv-ministack/bin/python -m pip install --quiet "ministack>=1.5.33,<2"; }

# Run tiles with faults that are scheduled from a seed: SEED [TILES] [--seeds COUNT] [--processes].
chaos *ARGS:
    python -m tests.chaos "$@"

# Run the tests against RIOS, with a Python that has RIOS (https://www.rioshome.org), asyncbatch and pytest.
test-rios PYTHON *ARGS:
    shift && "{{ PYTHON }}" -m pytest --confcutdir tests/rios tests/rios "$@"

# Run all static checks, as CI does first.
check: lint audit

# Check style, formatting, types, layers, shell scripts and Dockerfiles.
lint:
    ruff check
    ruff format --check
    mypy
    lint-imports
    if command -v shellcheck >/dev/null; then shellcheck dev .ci/run .ci/e2e container/base; fi
    if command -v hadolint >/dev/null; then hadolint container/Dockerfile*; fi

# Check the template's security with checkov, in a separate environment, since it pins many packages.
audit:
    test -x .venv-audit/bin/checkov || { python -m venv .venv-audit && .venv-audit/bin/pip install --quiet "checkov>=3.2,<4"; }
    .venv-audit/bin/checkov --file infra/batch.yaml --framework cloudformation --compact --quiet --skip-download

# Format the code.
format:
    ruff check --fix-only
    ruff format

# Process a real Landsat scene in local mode, and compare the result with a serial run.
demo *ARGS:
    python demo/landsat.py "$@"

# Verify on an AWS account what emulators can't (docs/first-hour.md); creates a stack and deletes it.
prove-on-aws *ARGS: _engine
    python demo/prove_on_aws.py "$@"

# Compare asyncbatch with its peers: `./dev bench NAME [ARGUMENTS]`, or `all`; `soak` runs without peers.
bench NAME *ARGS:
    @if [ "$1" = soak ]; then shift && exec python benchmarks/soak.py "$@"; fi && exec python benchmarks/bench.py "$@"

# Create the stack, build and push the workers' image, and check both; takes the options of `asyncbatch stack create`.
deploy *OPTIONS: _engine
    @case " $* " in *" --stackname"*|*" --region"*) echo "deploy: set RIOS_AWSBATCH_STACK and RIOS_AWSBATCH_REGION instead, so that all steps use them" >&2; exit 2;; esac
    @case "$(asyncbatch stack status 2>/dev/null | head -n 1)" in ""|*": ROLLBACK_COMPLETE"*) verb=create;; *) verb=modify;; esac; asyncbatch stack $verb --wait "$@"
    just image
    just push
    asyncbatch doctor

# Delete the stack and everything in it.
undeploy *OPTIONS:
    asyncbatch stack delete --wait "$@"

# Build the workers' image; reads BASE_IMAGE, EXTRA_PACKAGES, PIP_PACKAGES, NUMPY, RIOS_SOURCE (a tar file in dist/, or a URL).
image TAG="asyncbatch": _engine wheel
    "{{ engine }}" build ${BUILD_OPTIONS:-} --file container/Dockerfile --tag "$1" \
        --build-arg ASYNCBATCH_VERSION="$(python -c 'import importlib.metadata as m; print(m.version("asyncbatch"))')" \
        --build-arg REVISION="$(git describe --always --dirty 2>/dev/null)" \
        $(for name in BASE_IMAGE NUMPY RIOS_SOURCE; do test -z "$(printenv $name)" || echo "--build-arg $name"; done) \
        --build-arg EXTRA_PACKAGES="${EXTRA_PACKAGES:-}" --build-arg PIP_PACKAGES="${PIP_PACKAGES:-}" dist

# Build a main script's image from the workers' image.
image-main SCRIPT TAG="asyncbatchmain" WORKER="asyncbatch": _engine
    "{{ engine }}" build ${BUILD_OPTIONS:-} --file container/Dockerfile.main --tag "$2" \
        --build-arg WORKER_IMAGE="$3" --build-arg SCRIPT="$(basename "$1")" "$(dirname "$1")"

# Push the workers' image to the stack's repository.
push TAG="asyncbatch":
    ENGINE="{{ engine }}" asyncbatch stack push "$1"

# Build and push a main script's image.
push-main SCRIPT TAG="asyncbatchmain": (image-main SCRIPT TAG)
    ENGINE="{{ engine }}" asyncbatch stack push --main "$2"

# Test complete runs in containers of an image, as jobs of an emulated AWS Batch; needs podman.
e2e IMAGE="asyncbatch":
    IMAGE_UNDER_TEST="$1" pytest tests/containers

[private]
_engine:
    @test "{{ engine }}" != no-container-engine || { echo "neither docker nor podman found: install one, or set ENGINE=/path/to/it" >&2; exit 1; }

# Build the wheel into dist/.
wheel:
    rm -f dist/*.whl
    pip wheel --quiet --no-deps --build-constraint constraints.txt --wheel-dir dist .

# Remove the files of tests, tools and builds, but not .venv.
clean:
    rm -rf .venv-* dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
    find src tests -name __pycache__ -prune -exec rm -rf {} +
