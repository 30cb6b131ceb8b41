# The project's commands, by way of ./dev, which makes .venv first.

set positional-arguments
export PATH := justfile_directory() / ".venv/bin" + ":" + env("PATH")

[private]
default:
    @just --list --unsorted

# Unit, integration and acceptance tests, with coverage.
test *ARGS:
    pytest --cov "$@"

# The tests against RIOS, with a Python that has it (https://www.rioshome.org) and asyncbatch[local] and pytest.
test-rios PYTHON *ARGS:
    shift && "{{ PYTHON }}" -m pytest --confcutdir tests/rios tests/rios "$@"

# Style, formatting, types and layers.
lint:
    ruff check
    ruff format --check
    mypy
    lint-imports

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

# One comparison: `./dev bench NAME [ARGUMENTS]`.
bench NAME *ARGS:
    name=$1 && shift && python "benchmarks/$name.py" "$@"

# Build the wheel into dist/.
wheel:
    pip wheel --quiet --no-deps --build-constraint constraints.txt --wheel-dir dist .

# Remove what tests, tools and builds left behind; .venv stays.
clean:
    rm -rf dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
    find src tests -name __pycache__ -prune -exec rm -rf {} +
