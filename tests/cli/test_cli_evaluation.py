"""Commands that train and measure: what they refuse and write."""

import json

import pytest
from places import RECIPES


class TestTrainingAndEvaluation:
    RECIPE = RECIPES / "base/base-tiny.yaml"

    @pytest.mark.parametrize("text", ["surprise: 1\n", "- 1\n", "a: b: c", "steps: many\n"])
    def test_bad_recipe(self, refused, tmp_path, text):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(text)
        options = ("--data", tmp_path, "--out", tmp_path / "run")
        refused(2, "", "train-base", recipe, *options, folder=tmp_path)

    def test_missing_recipe_and_data(self, refused, tmp_path):
        options = ("--data", tmp_path / "no", "--out", tmp_path / "run")
        refused(2, "no.yaml", "train-base", "no.yaml", *options, folder=tmp_path)
        refused(9, "no", "train-base", self.RECIPE, *options, folder=tmp_path)
        assert not (tmp_path / "run").exists()

    def test_folder_without_pictures(self, refused, base, tmp_path):
        refused(9, "no picture", "eval", tmp_path, *base, folder=tmp_path)

    def test_results_are_not_overwritten(self, refused, photo, base, tmp_path):
        (tmp_path / "results.json").write_text("old")
        options = ("--out", tmp_path / "results.json")
        refused(8, "--force", "eval", tmp_path, *options, *base, folder=tmp_path)

    @pytest.mark.parametrize(
        ("says", "options"),
        [
            ("no peer 'av2'", ("--against", "jpeg,av2")),
            ("peer mbt2018 cannot run", ("--against", "mbt2018", "--weights", "/nowhere")),
            ("no metric 'vmaf'", ("--metrics", "psnr,vmaf")),
            ("give all, or numbers", ("--rates", "0,best")),
            ("curves are drawn as", ("--plot", "curves.gif")),
            ("name its file by --report", ("--show", "photo")),
            ("no picture 'nope'", ("--show", "nope", "--report", "report.html")),
        ],
    )
    def test_eval_refuses_what_it_does_not_know(
        self, refused, photo, says, options, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        refused(2, says, "eval", tmp_path, "--base", "nowhere", *options, folder=tmp_path)

    @pytest.mark.parametrize(
        ("code", "says", "options"),
        [
            (6, "rate index 9.0", ("--rates", "9")),
            (6, "rate index nan", ("--rates", "nan")),
            (2, "gain_steps is 99", ("--gain-steps", "99")),
            (8, "does not exist", ("--plot", "missing/curves.png")),
            (9, "has no place for results", ("--readme", "README.md")),
            (9, "none of its 1 pictures", ("--max-pixels", "9")),
        ],
    )
    def test_eval_refuses_before_it_measures(
        self, refused, photo, base, code, says, options, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "README.md").write_text("# Title")
        words = (*base, "--out", "results.json", *options)
        refused(code, says, "eval", tmp_path, *words, folder=tmp_path)

    def test_bench_and_its_picture(self, refused, base, tmp_path):
        missing = tmp_path / "no.png"
        refused(3, "no.png", "bench", "--picture", missing, *base, folder=tmp_path)

    def test_eval_names_a_broken_picture_and_does_the_rest(self, run, photo, base, tmp_path):
        (tmp_path / "broken.png").write_bytes(photo.read_bytes()[:100])
        results = tmp_path / "results.json"
        outcome = run("eval", tmp_path, *base, "--out", results, "--against", "jpeg,webp")
        assert outcome.code == 9
        last = outcome.err.splitlines()[-1]
        assert last.startswith("promptcodec: error: 1 of 2 pictures could not be evaluated")
        assert "broken.png" in last
        facts = json.loads(results.read_text())
        assert [each["picture"] for each in facts["points"][0]["pictures"]] == [photo.name]
        assert [each["name"] for each in facts["baselines"]] == ["jpeg", "webp"]
        assert b"| rate 4 |" in outcome.out

    def test_eval_writes_results_and_table(self, run, photo, base, tmp_path):
        readme, results = tmp_path / "README.md", tmp_path / "results.json"
        readme.write_text("# Title\n<!-- results:begin -->\na stale row\n<!-- results:end -->\n")
        outcome = run("eval", tmp_path, *base, "--out", results, "--readme", readme)
        assert outcome.code == 0, outcome.err
        assert json.loads(results.read_text())["points"]
        assert outcome.out.decode().strip() in readme.read_text()
        assert "a stale row" not in readme.read_text()
