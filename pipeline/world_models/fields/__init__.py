"""Layers that commute with the turns and mirrors of the square (c4, d4).

A fibre holds a number for each group element h, in the order of `group.elements()`. The group
acts on fibres by (g x)_h = x_(h g), on fields of fibres over the plane by
(g f)_h(p) = f_(h g)(g^-1 p). A counter-clockwise quarter turn thus moves the values of c4 one
place down, as in the released code; vectors of fibres are (..., G, c), fields (B, c, G, H, W).
"""
