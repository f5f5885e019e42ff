"""From noise to latents: guidance, the denoising loop, the order of a long video's chunks, jobs that continue."""
