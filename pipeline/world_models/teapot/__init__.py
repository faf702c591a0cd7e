"""An object turned in space: latents are rotation matrices."""
