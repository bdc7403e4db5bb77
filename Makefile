VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install benchmark bench test check clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --editable '.[dev]' --constraint constraints.txt
	touch $@

# out/ goes first, so that every cell is computed and none is taken from an earlier run
benchmark: install
	rm -rf out
	$(BIN)/robench run --models all --dataset digits --attacks fgsm,pgd,spgd --output out/results
	$(BIN)/robench leaderboard --results out/results --output out/leaderboard.md
	$(BIN)/python performance/compare.py results out/results

# speed, side by side with peers; writes performance/README.md; OPTIONS="sweep --quick" for less
bench: install
	$(BIN)/python -m performance $(OPTIONS)

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf out build dist
