"""Pictures of world models; each file draws one."""
