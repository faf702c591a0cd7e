"""What the shared measures mean, for evaluations, tables and reports."""

from orbit.core.metrics import Column, Metric

PSNR = "PSNR of predicted views of 64 objects under all elements of an orbit"
CLASS = "Accuracy of the class after moving latents back"
STATEMENTS = (
    Metric(
        "orbit_psnr/given",
        f"{PSNR}, by the true g.",
        "higher",
        column=Column("PSNR, orbits", 2),
    ),
    Metric(
        "orbit_psnr/swapped",
        f"{PSNR}, by the element inferred from a pair of another object.",
        "higher",
        column=Column("PSNR, swapped g", 2),
    ),
    Metric("orbit_psnr/black", "PSNR of black frames on the same views."),
    Metric("orbit_psnr/copy", "PSNR of the unchanged sources on the same views."),
    Metric("orbit_psnr/mean", "PSNR of the mean of the same views, the best constant image."),
    Metric(
        "inferred/pose_error",
        "Mean (1 - cos a) / 2 of the angle a between the inferred and the true g.",
        "lower",
        column=Column("inferred g, error", 3),
    ),
    Metric("inferred/pose_error_chance", "inferred/pose_error of an element drawn at random."),
    Metric("inferred/hits", "Share of inferred elements that are the true ones.", "higher"),
    Metric("inferred/hits_chance", "inferred/hits of an element drawn at random."),
    Metric(
        "retrieval/mrr",
        "Mean of 1 / rank of the true view of an object among its views, by the predicted latent.",
        "higher",
        column=Column("MRR", 3),
    ),
    Metric("retrieval/mrr_chance", "retrieval/mrr of guessing among n views: H_n / n."),
    Metric(
        "retrieval/hits_at_1",
        "Share of predicted latents to which the true view of the object is the nearest.",
        "higher",
        column=Column("H@1", 3),
    ),
    Metric("retrieval/hits_at_1_chance", "retrieval/hits_at_1 of guessing among n views: 1 / n."),
    Metric(
        "retrieval/pose_error",
        "Mean (1 - cos a) / 2 of the angle a to the pose of the nearest view of any object.",
        "lower",
        column=Column("PRE", 3),
    ),
    Metric("retrieval/pose_error_chance", "retrieval/pose_error of a view chosen at random."),
    Metric(
        "equivariance_gain/cosine",
        "Mean of cos(z', g z) - cos(z', z), z' the latent of g x: 0 if acting is no use.",
        "higher",
        column=Column("equivariance gain", 3),
    ),
    Metric(
        "equivariance_gain/ratio",
        "Mean of 1 - cos(z', z) over that of 1 - cos(z', g z): 1 if acting is no use.",
        "higher",
    ),
    Metric(
        "pose_r2/gaussian",
        "R2 by component of kernel regression from a feature to the pose of a view.",
        "higher",
    ),
    Metric(
        "pose_r2/gaussian/z_v",
        "The same from the part on which the group acts.",
        "higher",
        column=Column("R2 of g in z_v", 3),
    ),
    Metric(
        "pose_r2/gaussian/z_i",
        "The same from the part that the group leaves alone.",
        "lower",
        column=Column("R2 of g in z_i", 3),
    ),
    Metric("pose_r2/linear", "As pose_r2/gaussian, of linear regression.", "higher"),
    Metric("pose_r2/mean", "R2 by component of predicting the mean pose of the fitted views."),
    Metric(
        "pose_r2_pooled",
        "As pose_r2, with one mean for all components: compare with pose_r2_pooled/mean.",
        "higher",
    ),
    Metric("pose_r2_pooled/mean", "Pooled R2 of predicting the mean pose of the fitted views."),
    Metric(
        "relative_r2",
        "R2 by component of regression from two views of an object to the element between them.",
        "higher",
    ),
    Metric(
        "relative_r2/bilinear/z_v",
        "The same from the part on which the group acts, by products of two numbers.",
        "higher",
        column=Column("R2 of relative g", 3),
    ),
    Metric("relative_r2/mean", "R2 by component of predicting the mean relative pose."),
    Metric(
        "relative_r2_pooled",
        "As relative_r2, with one mean for all components: compare with relative_r2_pooled/mean.",
        "higher",
    ),
    Metric("relative_r2_pooled/mean", "Pooled R2 of predicting the mean relative pose."),
    Metric(
        "d_lsbd",
        "Distance of z_v of an object's views from a circle, signs of axes excluded; of two angles,"
        " from a circle for each. 0 is best.",
        "lower",
        column=Column("D_LSBD", 3),
    ),
    Metric("d_lsbd_noise", "d_lsbd of normal noise on as many objects and angles."),
    Metric(
        "class_out_of_range/pose_known",
        f"{CLASS} by the true g, at elements at which nothing was fitted.",
        "higher",
        column=Column("class out of range, pose known", 3),
    ),
    Metric(
        "class_out_of_range/pose_inferred",
        f"{CLASS} by the pose for which 10 nearest neighbours vote, at such elements.",
        "higher",
        column=Column("class out of range, pose inferred", 3),
    ),
    Metric(
        "class_out_of_range/no_action",
        "Accuracy of the class from latents as they are, fitted likewise, at such elements.",
    ),
    Metric("class_out_of_range/chance", "Share of the most frequent class."),
    Metric(
        "class_out_of_range/pose_hits",
        "Share of the poses voted for that are the nearest candidate.",
        "higher",
    ),
    Metric("class_in_range", "As class_out_of_range, at the elements at which it was fitted."),
)
"""Columns of tables are in this order."""
