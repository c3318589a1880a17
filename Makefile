# Everything a newcomer needs: make demo, make test, make serve. Python 3.11 and make are enough.
PYTHON ?= python3
# The order the tests are drawn in: the same for everybody, so that what was green is; try others.
SEED ?= 20261121
UV := .uv/bin/uv
RUN := .venv/bin/

.PHONY: setup demo test serve check bench prove abuse clean
.DEFAULT_GOAL := demo

setup: .venv/.ready

# uv is the one thing pip brings, by hash; uv brings the rest, by hash, from uv.lock.
.uv/.ready: uv.txt
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r uv.txt
	touch $@

.venv/.ready: .uv/.ready pyproject.toml uv.lock
	UV_COMPILE_BYTECODE=1 $(UV) sync --locked --quiet --python $(PYTHON)
	.venv/bin/python -m compileall -q gateway providers
	touch $@

# The OpenAI SDK most apps still have, beside the newest one.
.venv-openai2/.ready: .uv/.ready pyproject.toml uv.lock
	UV_PROJECT_ENVIRONMENT=.venv-openai2 $(UV) sync --locked --quiet --python $(PYTHON) --only-group openai2
	touch $@

# The last google-genai that sends Veo to the Developer API, likewise.
.venv-genai2/.ready: .uv/.ready pyproject.toml uv.lock
	UV_PROJECT_ENVIRONMENT=.venv-genai2 $(UV) sync --locked --quiet --python $(PYTHON) --only-group genai2
	touch $@

# The Node SDKs, where there is Node; their tests say so and skip where there is none.
tests/sdk/node/node_modules/.ready: tests/sdk/node/package-lock.json
	if command -v npm >/dev/null; then npm ci --prefix tests/sdk/node --no-audit --no-fund --silent && touch $@; fi

demo: setup
	$(RUN)reelgate demo

serve: setup
	$(RUN)reelgate serve

# Four at a time are no more than two cores take: a test often waits for another process.
test: setup .venv-openai2/.ready .venv-genai2/.ready tests/sdk/node/node_modules/.ready
	$(RUN)pytest -n 4 --dist loadfile --no-loadscope-reorder --randomly-seed=$(SEED)

# Lint, format, types, imports: what .ci/run adds to the tests.
check: setup
	$(RUN)ruff check
	$(RUN)ruff format --check
	$(RUN)mypy
	$(RUN)lint-imports

bench: setup
	$(RUN)python -m bench

# Thousands of simulated worlds and real kills, written down in docs/ a stretch at a time: hours on two cores.
# PARTS=worlds (or matrix, kills, postgres, ...) is one part of it; what was interrupted goes on where it was.
prove: setup
	$(RUN)python -m tests.prove $(PARTS)

# Bombs and slow clients at full size, then ten minutes of questions about the OpenAPI document.
abuse: setup
	$(RUN)python -m tests.abuse

clean:
	rm -rf .venv .venv-openai2 .venv-genai2 .uv tests/sdk/node/node_modules data
