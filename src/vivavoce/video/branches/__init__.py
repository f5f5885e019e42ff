"""What papers add beside the pretrained blocks: one mechanism a file, each the identity until it is trained."""
