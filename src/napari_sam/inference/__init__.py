"""Segmenting one plane: checkpoints, embeddings, prompts to masks, automatic segmentation."""
