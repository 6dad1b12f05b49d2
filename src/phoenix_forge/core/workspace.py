"""The folder with forge.yaml, and the only place that builds artifact paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from phoenix_forge.core.config import Config
from phoenix_forge.errors import UsageError


@dataclass(frozen=True)
class Workspace:
    """`root` is absolute; every path below it follows from the config."""

    root: Path
    config: Config

    def at(self, path: str | Path) -> Path:
        """A path from the config: relative ones start at the workspace."""
        return self.root / Path(path).expanduser()

    def _or(self, configured: str | None, default: str) -> Path:
        return self.at(configured or default)

    @property
    def _name(self) -> str:
        return self.config.model.name

    # dataset
    @property
    def dataset(self) -> Path:
        return self._or(self.config.paths.dataset, f"dataset_package/{self._name}.jsonl")

    @property
    def validation(self) -> Path:
        return self._or(
            self.config.paths.validation,
            str(self.dataset.with_name(f"{self.dataset.stem}_val.jsonl")),
        )

    @property
    def probes(self) -> Path:
        return self.dataset.with_name("probes.jsonl")

    @property
    def card(self) -> Path:
        return self.dataset.with_name("dataset_card.json")

    @property
    def dataset_report(self) -> Path:
        return self.root / "outputs" / "report" / "dataset.html"

    def export(self, name: str) -> Path:
        """The dataset in another format: alpaca, sharegpt or parquet."""
        suffix = ".parquet" if name == "parquet" else f".{name}.jsonl"
        return self.dataset.with_name(self.dataset.stem + suffix)

    # models
    def base(self, identity: str) -> Path:
        """Where a base called ORG/NAME lies. Raises UsageError for a name that would lead elsewhere."""
        if any(
            part in ("", ".", "..") or not part.isprintable() or "\\" in part
            for part in identity.split("/")
        ):
            raise UsageError(
                f"model.base: {identity!r} has a part that no folder can be called after",
                fix="--set model.base=ORG/NAME, or a folder by its own name",
            )
        return self._or(self.config.paths.base, f"models/base/{identity}")

    @property
    def adapter(self) -> Path:
        return self._or(self.config.paths.adapter, f"models/{self._name}-adapter")

    @property
    def merged(self) -> Path:
        return self._or(self.config.paths.merged, f"models/merged/{self._name}-merged")

    def gguf(self, quant: str | None = None) -> Path:
        """The GGUF of one type; without a type the first configured one, or the file that paths.gguf names."""
        if quant is None and self.config.paths.gguf:
            return self.at(self.config.paths.gguf)
        folder = self._or(self.config.paths.gguf_dir, "models/gguf")
        return folder / f"{self._name}-{quant or self.config.quantize.types[0]}.gguf"

    @property
    def imatrix(self) -> Path:
        """The importance matrix that was collected for the GGUFs beside it."""
        return self.gguf("imatrix")

    @property
    def gguf_manifest(self) -> Path:
        return self._or(self.config.paths.gguf_manifest, "models/gguf/gguf_model_manifest.json")

    @property
    def modelfile(self) -> Path:
        return self._or(self.config.paths.modelfile, "Modelfile")

    @property
    def checkpoints(self) -> Path:
        return self._or(self.config.paths.checkpoints, f"outputs/checkpoints/{self._name}")

    @property
    def train_report(self) -> Path:
        return self.dataset_report.with_name("train.html")

    @property
    def loss_curve(self) -> Path:
        return self.dataset_report.with_name("loss.png")

    # evaluation
    @property
    def evaluation_files(self) -> dict[str, Path]:
        """Its figures, the page that shows them, and the summary for the model card."""
        return {
            role: self.dataset_report.with_name(f"evaluation{suffix}")
            for role, suffix in (("evaluation", ".json"), ("page", ".html"), ("summary", ".md"))
        }

    @property
    def evaluation(self) -> Path:
        return self.evaluation_files["evaluation"]

    @property
    def index(self) -> Path:
        """Full-text index over the corpus's sections."""
        return self.state / "index.sqlite"

    # publishing
    @property
    def readme(self) -> Path:
        return self._or(self.config.paths.readme, "huggingface/README.md")

    @property
    def readme_lora(self) -> Path:
        return self._or(self.config.paths.readme_lora, "huggingface/README_LORA.md")

    @property
    def model_card(self) -> Path:
        return self._or(self.config.paths.model_card, "huggingface/model_card.yaml")

    @property
    def artifacts(self) -> list[Path]:
        """Everything that stages and cards write: never documents, wherever the config puts it."""
        exports = [self.export(name) for name in ("alpaca", "sharegpt", "parquet")]
        return [
            self.dataset,
            self.validation,
            self.probes,
            self.card,
            *exports,
            self.dataset_report,
            self.adapter,
            self.merged,
            self.gguf().parent,
            self.gguf_manifest,
            self.checkpoints,
            self.train_report,
            self.loss_curve,
            *self.evaluation_files.values(),
            self.modelfile,
            self.readme,
            self.readme_lora,
            self.model_card,
        ]

    # housekeeping
    @property
    def state(self) -> Path:
        """Manifests, caches, locks. Without the manifests Forge no longer knows which outputs are its own."""
        return self.root / ".forge"

    def manifest(self, stage: str) -> Path:
        return self.state / "manifests" / f"{stage}.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def metrics(self) -> Path:
        return self.logs / "metrics.jsonl"

    def shown(self, path: Path) -> str:
        """A path as users read it: relative to the workspace where it lies inside."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)
