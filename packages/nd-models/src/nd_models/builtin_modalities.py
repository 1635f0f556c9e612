"""The modalities that everyone shares, in the order that gives them their ids, from 1.

Ids, sizes and keys are those of published models and recordings; they never change, and new ones go to the end.
"""

BUILTIN_MODALITIES: tuple[tuple[str, int, str, str, str], ...] = (
    # name, channels or classes, type, group of the recording, values in the group
    ("cursor_velocity_2d", 2, "CONTINUOUS", "cursor", "vel"),
    ("cursor_position_2d", 2, "CONTINUOUS", "cursor", "pos"),
    ("arm_velocity_2d", 2, "CONTINUOUS", "behavior", "hand_vel"),
    ("drifting_gratings_orientation", 8, "MULTINOMIAL", "drifting_gratings", "orientation_id"),
    ("drifting_gratings_temporal_frequency", 5, "MULTINOMIAL", "drifting_gratings", "temporal_frequency_id"),
    ("natural_movie_one_frame", 900, "MULTINOMIAL", "natural_movie_one", "frame"),
    ("natural_movie_two_frame", 900, "MULTINOMIAL", "natural_movie_two", "frame"),
    ("natural_movie_three_frame", 3600, "MULTINOMIAL", "natural_movie_three", "frame"),
    ("locally_sparse_noise_frame", 8000, "MULTINOMIAL", "locally_sparse_noise", "frame"),
    ("static_gratings_orientation", 6, "MULTINOMIAL", "static_gratings", "orientation_id"),
    ("static_gratings_spatial_frequency", 5, "MULTINOMIAL", "static_gratings", "spatial_frequency_id"),
    ("static_gratings_phase", 5, "MULTINOMIAL", "static_gratings", "phase_id"),
    ("natural_scenes", 119, "MULTINOMIAL", "natural_scenes", "frame"),
    ("gabor_orientation", 4, "MULTINOMIAL", "gabors", "gabors_orientation"),
    ("gabor_pos_2d", 2, "CONTINUOUS", "gabors", "pos_2d"),
    ("running_speed", 1, "CONTINUOUS", "running", "running_speed"),
    ("gaze_pos_2d", 2, "CONTINUOUS", "gaze", "pos_2d"),
    ("pupil_location", 2, "CONTINUOUS", "pupil", "location"),
    ("pupil_size_2d", 2, "CONTINUOUS", "pupil", "size_2d"),
)
