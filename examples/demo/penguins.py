"""What a data scientist has: a scikit-learn pipeline over a real table with categories and missing values.

The Palmer penguins (Horst, Hill & Gorman 2020): which of three species is it? Writes the fitted pipeline with joblib,
a CSV of sample rows, and one row with the pipeline's own answer to compare with later.
"""

import json
import sys
from importlib.resources import files
from pathlib import Path

import joblib
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
WORDS = ["island", "sex"]


def main(folder: Path) -> None:
    """Train, and leave penguins.joblib, rows.csv and question.json in `folder`."""
    with files("palmerpenguins").joinpath("data/penguins.csv").open() as file:
        table = pd.read_csv(file)
    train, test = train_test_split(table, test_size=0.25, random_state=7, stratify=table["species"])
    pipeline = make_pipeline(
        ColumnTransformer(
            [
                ("numbers", SimpleImputer(strategy="median"), NUMBERS),
                (
                    "words",
                    make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")),
                    WORDS,
                ),
            ]
        ),
        RandomForestClassifier(n_estimators=100, random_state=7),
    )
    pipeline.fit(train[NUMBERS + WORDS], train["species"])
    print(
        f"right for {pipeline.score(test[NUMBERS + WORDS], test['species']):.1%} of {len(test)} penguins it never saw"
    )
    joblib.dump(pipeline, folder / "penguins.joblib")
    test[NUMBERS + WORDS].to_csv(folder / "rows.csv", index=False)
    incomplete = test[test["sex"].isna()].head(1)[NUMBERS + WORDS]
    row = {name: None if pd.isna(value) else value for name, value in incomplete.iloc[0].to_dict().items()}
    answer = {"row": row, "species": str(pipeline.predict(incomplete)[0])}
    (folder / "question.json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
