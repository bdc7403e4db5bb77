VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCHMARK := out/benchmark

.PHONY: faults install benchmark figures bench test fuzz check clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --no-compile --editable '.[dev]' --constraint constraints.txt
	touch $@

# its folder goes first, so that every cell is computed and none is taken from an earlier run; out/
# itself stays, because users keep runs of their own there
benchmark: install
	rm -rf $(BENCHMARK)
	$(BIN)/robench run --models all --dataset digits --attacks fgsm,pgd,spgd --output $(BENCHMARK)/results
	$(BIN)/robench leaderboard --results $(BENCHMARK)/results --output $(BENCHMARK)/leaderboard.md
	$(BIN)/python performance/compare.py results $(BENCHMARK)/results

# every figure of this repository, from what is stored; only the trainings' logs and results/ are read
STORED := --no-run --dataset
figures: install
	$(BIN)/robench leaderboard
	$(BIN)/robench analyze curves
	$(BIN)/robench analyze differences
	$(BIN)/robench analyze found-by
	$(BIN)/robench analyze passes
	for data in cifar10 digits mnist; do \
	  $(BIN)/robench analyze sparsity $(STORED) $$data && \
	  $(BIN)/robench analyze energy $(STORED) $$data && \
	  $(BIN)/robench analyze raster $(STORED) $$data && \
	  $(BIN)/robench analyze landscape $(STORED) $$data --models all,digits/control-zero-gradient || exit 1; \
	done

# speed, side by side with peers; writes performance/README.md; OPTIONS="sweep --quick" for less
bench: install
	$(BIN)/python -m performance $(OPTIONS)

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2

# hostile input for every reader; fails for a finding; OPTIONS="--inputs 100000 --targets record" for more
fuzz: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.harness --output out/fuzz $(OPTIONS)

# random faults of runs, 20 to 40 minutes; fails if anything is lost; OPTIONS="--count 30" for fewer
faults: install
	mkdir -p out
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults --output out/faults.json $(OPTIONS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(BENCHMARK) build dist
