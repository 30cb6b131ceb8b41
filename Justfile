# The project's commands, by way of ./dev, which makes .venv first.

set positional-arguments
export PATH := justfile_directory() / ".venv/bin" + ":" + env("PATH")

engine := env("ENGINE", `command -v docker || command -v podman || echo no-container-engine`)

[private]
default:
    @just --list --unsorted

# Unit, integration and acceptance tests; in three processes, since most tests wait most of their time.
test *ARGS:
    pytest --numprocesses 3 --dist loadfile "$@"

newest_tests := "tests/unit tests/integration/test_executor.py tests/integration/test_modules.py tests/integration/test_scripts.py tests/integration/test_endpoint.py tests/integration/test_aws.py"

# Tests with the newest versions that pip installs, in an environment of its own; GDAL, bound to the system's, is .venv's.
test-newest *ARGS:
    test -x .venv-newest/bin/python || python -m venv .venv-newest
    .venv-newest/bin/python -m pip install --quiet --upgrade pip
    .venv-newest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable . --group dev
    cp -r .venv/lib/python3*/site-packages/osgeo .venv/lib/python3*/site-packages/*gdal* .venv-newest/lib/python3*/site-packages/
    .venv-newest/bin/python -m pytest --numprocesses 3 --dist loadfile {{ newest_tests }} "$@"

lowest_tests := "tests/unit tests/integration/test_executor.py"

# Tests with the lowest versions that pyproject.toml allows, in an environment of its own; uv knows how to choose them.
test-lowest *ARGS:
    test -x .venv-lowest/bin/uv || { python -m venv .venv-lowest && .venv-lowest/bin/python -m pip install --quiet uv; }
    .venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct --editable . --group dev
    cp -r .venv/lib/python3*/site-packages/osgeo .venv/lib/python3*/site-packages/*gdal* .venv-lowest/lib/python3*/site-packages/
    .venv-lowest/bin/python -m pytest --numprocesses 3 --dist loadfile {{ lowest_tests }} "$@"

# The tests against RIOS, with a Python that has it (https://www.rioshome.org) and asyncbatch and pytest.
test-rios PYTHON *ARGS:
    shift && "{{ PYTHON }}" -m pytest --confcutdir tests/rios tests/rios "$@"

# All that needs no test run: what CI checks first.
check: lint audit

# Style, formatting, types, layers, shell scripts and Dockerfiles.
lint:
    ruff check
    ruff format --check
    mypy
    lint-imports
    if command -v shellcheck >/dev/null; then shellcheck dev .ci/run .ci/e2e container/base; fi
    if command -v hadolint >/dev/null; then hadolint container/Dockerfile*; fi

# Security checks of the template, by checkov in an environment of its own: it pins much.
audit:
    test -x .venv-audit/bin/checkov || { python -m venv .venv-audit && .venv-audit/bin/pip install --quiet "checkov>=3.2,<4"; }
    .venv-audit/bin/checkov --file infra/batch.yaml --framework cloudformation --compact --quiet --skip-download

# Rewrite the code in the project's format.
format:
    ruff check --fix-only
    ruff format

# A real Landsat scene through local mode, compared with a serial run.
demo *ARGS:
    python demo/landsat.py "$@"

# Prove on an AWS account what emulators can not, by docs/first-hour.md; it creates a stack and deletes it.
prove-on-aws *ARGS: _engine
    python demo/prove_on_aws.py "$@"

# One comparison: `./dev bench NAME [ARGUMENTS]`.
bench NAME *ARGS:
    name=$1 && shift && python "benchmarks/$name.py" "$@"

# All that AWS needs: the stack, the image in it, and a look at both; STACK OPTIONS as `asyncbatch stack create` has them.
deploy *OPTIONS: _engine
    @case " $* " in *" --stackname"*|*" --region"*) echo "deploy: name stack and region by RIOS_AWSBATCH_STACK and RIOS_AWSBATCH_REGION, for all its steps" >&2; exit 2;; esac
    @case "$(asyncbatch stack status 2>/dev/null | head -n 1)" in ""|*": ROLLBACK_COMPLETE"*) verb=create;; *) verb=modify;; esac; asyncbatch stack $verb --wait "$@"
    just image
    just push
    asyncbatch doctor

# Delete the stack with all that is in it.
undeploy *OPTIONS:
    asyncbatch stack delete --wait "$@"

# Build the workers' image; BASE_IMAGE, EXTRA_PACKAGES, PIP_PACKAGES, NUMPY, RIOS_SOURCE (a tar in dist/, or a URL) count.
image TAG="asyncbatch": _engine wheel
    "{{ engine }}" build ${BUILD_OPTIONS:-} --file container/Dockerfile --tag "$1" \
        --build-arg ASYNCBATCH_VERSION="$(python -c 'import importlib.metadata as m; print(m.version("asyncbatch"))')" \
        --build-arg REVISION="$(git describe --always --dirty 2>/dev/null)" \
        $(for name in BASE_IMAGE NUMPY RIOS_SOURCE; do test -z "$(printenv $name)" || echo "--build-arg $name"; done) \
        --build-arg EXTRA_PACKAGES="${EXTRA_PACKAGES:-}" --build-arg PIP_PACKAGES="${PIP_PACKAGES:-}" dist

# Build a main script's image, on the workers'.
image-main SCRIPT TAG="asyncbatchmain" WORKER="asyncbatch": _engine
    "{{ engine }}" build ${BUILD_OPTIONS:-} --file container/Dockerfile.main --tag "$2" \
        --build-arg WORKER_IMAGE="$3" --build-arg SCRIPT="$(basename "$1")" "$(dirname "$1")"

# Push the workers' image to the stack's repository.
push TAG="asyncbatch":
    ENGINE="{{ engine }}" asyncbatch stack push "$1"

# Build and push a main script's image.
push-main SCRIPT TAG="asyncbatchmain": (image-main SCRIPT TAG)
    ENGINE="{{ engine }}" asyncbatch stack push --main "$2"

# Whole runs in containers of an image, as jobs of an emulated Batch; needs podman.
e2e IMAGE="asyncbatch":
    IMAGE_UNDER_TEST="$1" pytest tests/containers

[private]
_engine:
    @test "{{ engine }}" != no-container-engine || { echo "neither docker nor podman is here: install one, or name it by ENGINE=/path/to/it" >&2; exit 1; }

# Build the wheel into dist/.
wheel:
    rm -f dist/*.whl
    pip wheel --quiet --no-deps --build-constraint constraints.txt --wheel-dir dist .

# Remove what tests, tools and builds left behind; .venv stays.
clean:
    rm -rf dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
    find src tests -name __pycache__ -prune -exec rm -rf {} +
