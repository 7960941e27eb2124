# %% [markdown]
# # Counts to arrivals, in a notebook
#
# Two tables say how many customers came to each shop in each hour, and where the shops are. Arrival Engine turns them
# into single arrivals, to the microsecond, with local times that are right on the night of the clock change.
#
# This notebook is a plain script. `jupytext --to ipynb notebook.py` makes a Jupyter notebook of it.

# %%
import duckdb
import pandas as pd

import arrival_engine as ae

# %% [markdown]
# ## Counts and sites
#
# A row of counts is one hour of a merchant in a time zone. Times have a zone; these are UTC. In Berlin the clock went
# forward at 01:00 UTC on 29 March 2026.

# %%
hours = pd.date_range("2026-03-28", periods=48, freq="h", tz="UTC")
berlin = pd.DataFrame({"merchant_id": 1, "tz": "Europe/Berlin", "bucket_start": hours, "count": 120})
new_york = pd.DataFrame({"merchant_id": 2, "tz": "America/New_York", "bucket_start": hours, "count": 80})
counts = pd.concat([berlin, new_york], ignore_index=True)

sites = pd.DataFrame(
    {
        "merchant_id": [1, 1, 2],
        "tz": ["Europe/Berlin", "Europe/Berlin", "America/New_York"],
        "country": ["DE", "DE", "US"],
        "weight": [3.0, 1.0, 1.0],  # three of four arrivals in Berlin go to the first shop
    }
)
counts.head()

# %% [markdown]
# ## Arrivals
#
# The tables are read and checked here, and nothing is computed or written yet.

# %%
arrivals = ae.expand_counts(counts, sites, seed=7)
arrivals

# %% [markdown]
# ## As a DataFrame
#
# Ids stay whole numbers, and every wall clock has its offset beside it. The hour from 02:00 to 03:00 of 29 March does
# not exist in Berlin.

# %%
frame = arrivals.to_pandas()
night = frame[(frame["merchant_id"] == 1) & (frame["ts_local"].dt.date == pd.Timestamp("2026-03-29").date())]
assert len(frame) == counts["count"].sum()
assert 2 not in set(night["ts_local"].dt.hour)
night.groupby([night["ts_local"].dt.hour, "utc_offset_minutes"]).size().head(4)

# %% [markdown]
# ## SQL over arrivals that are not stored
#
# DuckDB finds the variable by its name. Each query computes the arrivals again, batch by batch, and keeps none.

# %%
by_country = duckdb.sql(
    """
    select country, place_id, count(*) as arrivals, min(ts_local) as first, max(ts_local) as last
    from arrivals
    group by all
    order by country, arrivals desc
    """
).df()
by_country

# %% [markdown]
# ## The same arrivals every time
#
# The digest covers every arrival. It depends on the tables and the seed, not on threads, machines or libraries, and it
# is the digest that `arrivals run` gives for these tables.

# %%
shuffled = ae.expand_counts(counts.sample(frac=1), sites, seed=7, threads=1)
assert shuffled.digest == arrivals.digest
assert ae.expand_counts(counts, sites, seed=8).digest != arrivals.digest
arrivals.digest
