"""Pictures of an evaluation (extra ``plot``): traces, scores with intervals, confusion matrices, scatters.

matplotlib is imported when something is drawn, never pyplot: no window opens and no global state changes.
"""

from nd_eval.plot.confusion import plot_confusion
from nd_eval.plot.picture import Picture
from nd_eval.plot.scatter import plot_scatter
from nd_eval.plot.scores import plot_scores
from nd_eval.plot.traces import plot_traces

__all__ = ["Picture", "plot_confusion", "plot_scatter", "plot_scores", "plot_traces"]
