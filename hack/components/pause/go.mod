module narwhal/pause

go 1.24
