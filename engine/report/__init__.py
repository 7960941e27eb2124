"""The report of a run: one self-contained page with its records, its plots and the expected look of each."""

from arrival_engine.engine.report.job import ReportOptions, ReportResult, ScenarioOverview, report

__all__ = ["ReportOptions", "ReportResult", "ScenarioOverview", "report"]
