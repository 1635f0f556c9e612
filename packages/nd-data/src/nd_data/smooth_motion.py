"""Smooth random movement in the plane: a stationary Gaussian process for position, velocity and acceleration.

Along each axis the position is a Matérn process of smoothness 5/2, the solution of ``(d/dt + 1/tau)^3 x = white
noise`` (Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, section 4.2.1). The autocorrelation of
its velocity is ``(1 + u - u^2) exp(-u)`` with ``u = lag / tau``: it falls to 1/e after ``tau``, and turns negative,
as it does for movements that come back. The state is ``(x, tau x', tau^2 x'')``, in units of the position's standard
deviation.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class SmoothMotion:
    """Movement along one axis, in steps of fixed length; the axes are independent and alike.

    Args:
        transition: How the state goes on without noise. Shape: (3, 3).
        noise: Covariance of what is added at each step. Shape: (3, 3).
        stationary: Covariance of the state at any time. Shape: (3, 3).
        position_scale: Standard deviation of the position.
        velocity_scale: What the state's second entry is multiplied with to give the velocity.
    """

    transition: FloatArray
    noise: FloatArray
    stationary: FloatArray
    position_scale: float
    velocity_scale: float

    @classmethod
    def with_velocity(cls, standard_deviation: float, *, time_constant: float, step: float) -> Self:
        """Movement whose velocity has a given standard deviation along each axis.

        Args:
            standard_deviation: Of the velocity along each axis, in units a second.
            time_constant: The lag in seconds at which the velocity's autocorrelation is 1/e.
            step: Seconds a step.

        Raises:
            ValueError: an argument is not positive, or the step exceeds the time constant.
        """
        if not (standard_deviation > 0 and time_constant > 0 and step > 0):
            raise ValueError(
                "the velocity's standard deviation, its time constant and the step must be positive, got "
                f"{standard_deviation}, {time_constant} and {step}"
            )
        if step > time_constant:
            raise ValueError(f"a step of {step} s is longer than the time constant of {time_constant} s")
        ratio = step / time_constant
        # The drift plus the identity is nilpotent, so its exponential has three terms.
        nilpotent = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [-1.0, -3.0, -2.0]])
        transition = math.exp(-ratio) * (np.eye(3) + ratio * nilpotent + ratio**2 / 2 * nilpotent @ nilpotent)
        stationary = np.array([[1.0, 0.0, -1 / 3], [0.0, 1 / 3, 0.0], [-1 / 3, 0.0, 1.0]])
        noise = stationary - transition @ stationary @ transition.T
        position_scale = standard_deviation * time_constant * math.sqrt(3.0)
        return cls(transition, (noise + noise.T) / 2, stationary, position_scale, position_scale / time_constant)

    def sample(self, steps: int, generator: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Draw a movement in the plane.

        Args:
            steps: Number of samples.
            generator: Where the random numbers come from.

        Returns:
            Position and velocity. Shapes: (steps, 2).
        """
        states = np.empty((steps, 3, 2))
        innovations = np.linalg.cholesky(self.noise) @ generator.standard_normal((steps, 3, 2))
        state = np.linalg.cholesky(self.stationary) @ generator.standard_normal((3, 2))
        for index in range(steps):
            states[index] = state
            state = self.transition @ state + innovations[index]
        return states[:, 0] * self.position_scale, states[:, 1] * self.velocity_scale


__all__ = ["SmoothMotion"]
