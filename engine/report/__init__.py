"""The report of a run: one self-contained page of what was run, what came out, and what it should look like."""

from arrival_engine.engine.report.job import ReportOptions, ReportResult, ScenarioOverview, report

__all__ = ["ReportOptions", "ReportResult", "ScenarioOverview", "report"]
