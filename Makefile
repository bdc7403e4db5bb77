VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCHMARK := out/benchmark

.PHONY: faults publish install benchmark figures bench test fuzz check clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --editable '.[dev]' --constraint constraints.txt
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
	  shown=all; test $$data = digits && shown=all,digits/control-zero-gradient; \
	  $(BIN)/robench analyze sparsity $(STORED) $$data && \
	  $(BIN)/robench analyze energy $(STORED) $$data && \
	  $(BIN)/robench analyze raster $(STORED) $$data && \
	  $(BIN)/robench analyze landscape $(STORED) $$data --models $$shown || exit 1; \
	done

# the published benchmark: everything in results/, the board, the figures and the pages; many hours, and
# the same command continues; DATA=digits:16/255 publishes a part. spgd-long runs on the pairs of
# networks where --checks full calls spgd not converged
DATA := cifar10:8/255 mnist:0.1 digits:16/255
PUBLISH = OMP_NUM_THREADS=1 $(BIN)/robench run --jobs 2 --checks full
publish: install
	for data in $(DATA); do \
	  set -- $$(echo $$data | tr : ' '); \
	  $(PUBLISH) --dataset $$1 --attacks fgsm,pgd,spgd,noise && \
	  longer=$$($(BIN)/python -m studies not-converged --dataset $$1) && \
	  { test -z "$$longer" || $(PUBLISH) --models $$longer --attacks spgd-long; } && \
	  $(PUBLISH) --dataset $$1 --eps $$2 --attacks spiking-autoattack && \
	  OMP_NUM_THREADS=1 $(BIN)/python -m studies autoattack --dataset $$1 || exit 1; \
	done
	$(PUBLISH) --models digits/control-random-mask,digits/control-zero-gradient
	$(MAKE) figures STORED=--dataset
	for page in findings replication seeds scale; do $(BIN)/python -m studies $$page || exit 1; done

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
