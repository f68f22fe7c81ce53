#Requires -Version 5.1
#Requires -RunAsAdministrator
<#
.SYNOPSIS
  Lets devices of the network reach a gateway that runs in Docker Desktop with WSL2.
.DESCRIPTION
  -Mode Nat       a Windows Firewall rule, and a port proxy to WSL that a scheduled task renews at each start
  -Mode Mirrored  networkingMode=mirrored in .wslconfig, and a Hyper-V firewall rule; needs Windows 11 22H2 and WSL 2.0.4
  Run it as the user for whom Docker Desktop starts. It may be run again, also with the other mode; Disable-MenderGateway.ps1
  undoes all of it. With -WhatIf it says what it would do.
.EXAMPLE
  .\Enable-MenderGateway.ps1 -Mode Nat
.EXAMPLE
  .\Enable-MenderGateway.ps1 -Mode Mirrored -RemoteAddress 192.168.8.0/24
#>
[CmdletBinding(SupportsShouldProcess)]
param(
  [Parameter(Mandatory)] [ValidateSet('Nat', 'Mirrored')] [string]$Mode,
  [ValidateRange(1, 65535)] [int]$Port = 443,         # devices use it
  [ValidateRange(0, 65535)] [int]$TargetPort = 0,     # Docker publishes it, if that is another one (Nat)
  [string]$Distribution = '',                         # whom to ask for the address of WSL; the default one (Nat)
  [string[]]$RemoteAddress = @('Any')                 # who may connect
)
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'MenderGateway.psm1') -Force
$names = Get-GatewayNames
if ($TargetPort -eq 0) { $TargetPort = $Port }

if ($null -ne (Read-State)) {
  Write-Output 'undoing what was set up before'
  & (Join-Path $PSScriptRoot 'Disable-MenderGateway.ps1') -KeepWslRunning
}

if ($Mode -eq 'Nat') {
  if (-not $PSCmdlet.ShouldProcess("TCP port $Port", 'allow it in the Windows Firewall and lead it to WSL')) { return }
  Write-State @{ Mode = 'Nat'; Port = $Port }
  New-NetFirewallRule -Name $names.FirewallRule -DisplayName 'Mender Gateway' -Direction Inbound -Action Allow `
    -Protocol TCP -LocalPort $Port -RemoteAddress $RemoteAddress | Out-Null
  # The port proxy is a part of this service.
  Set-Service -Name iphlpsvc -StartupType Automatic
  Start-Service -Name iphlpsvc

  # A copy that only administrators can change, since the task has their rights.
  $script = Join-Path $names.Directory 'Update-PortProxy.ps1'
  Copy-Item -LiteralPath (Join-Path $PSScriptRoot 'Update-PortProxy.ps1') -Destination $script -Force
  $arguments = "-NoProfile -ExecutionPolicy Bypass -File `"$script`" -Port $Port -TargetPort $TargetPort"
  if ($Distribution) { $arguments += " -Distribution `"$Distribution`"" }
  $action = New-ScheduledTaskAction -Execute 'powershell.exe' -Argument $arguments
  $user = [System.Security.Principal.WindowsIdentity]::GetCurrent().Name
  # WSL belongs to a user: at the start of Windows nobody is there for whom it could run before that user logs on.
  $triggers = @((New-ScheduledTaskTrigger -AtStartup), (New-ScheduledTaskTrigger -AtLogOn -User $user))
  $principal = New-ScheduledTaskPrincipal -UserId $user -LogonType Interactive -RunLevel Highest
  $settings = New-ScheduledTaskSettingsSet -StartWhenAvailable -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries `
    -ExecutionTimeLimit (New-TimeSpan -Minutes 10) -RestartCount 3 -RestartInterval (New-TimeSpan -Minutes 1)
  Register-ScheduledTask -TaskName $names.Task -Action $action -Trigger $triggers -Principal $principal -Settings $settings `
    -Description 'Leads the Mender gateway''s port to WSL, whose address changes at each start' -Force | Out-Null
  & $script -Port $Port -TargetPort $TargetPort -Distribution $Distribution
}
else {
  if ([Environment]::OSVersion.Version.Build -lt 22621) { throw 'mirrored networking needs Windows 11 22H2 (build 22621) or later: use -Mode Nat' }
  if (-not (Get-Command New-NetFirewallHyperVRule -ErrorAction SilentlyContinue)) { throw 'this Windows has no Hyper-V firewall: use -Mode Nat' }
  $env:WSL_UTF8 = '1'
  $version = (& wsl.exe --version) -join ' '
  if ($version -notmatch '(\d+\.\d+\.\d+)' -or [version]$Matches[1] -lt [version]'2.0.4') { throw "mirrored networking needs WSL 2.0.4 or later (wsl --update): $version" }
  $config = Join-Path $env:USERPROFILE '.wslconfig'
  if (-not $PSCmdlet.ShouldProcess($config, "networkingMode=mirrored, a Hyper-V firewall rule for TCP port $Port, and a restart of WSL")) { return }
  $lines = @()
  if (Test-Path -LiteralPath $config) { $lines = @(Get-Content -LiteralPath $config) }
  $before = Get-IniValue -Lines $lines -Section 'wsl2' -Key 'networkingMode'
  Write-State @{ Mode = 'Mirrored'; Port = $Port; Config = $config; NetworkingMode = $before }
  Set-IniValue -Lines $lines -Section 'wsl2' -Key 'networkingMode' -Value 'mirrored' | Set-Content -LiteralPath $config -Encoding ASCII
  $rule = @{
    Name = $names.HyperVRule; DisplayName = 'Mender Gateway'; Direction = 'Inbound'; Action = 'Allow'
    VMCreatorId = (Get-WslCreator); Protocol = 'TCP'; LocalPorts = $Port
  }
  if ($RemoteAddress -notcontains 'Any') { $rule.RemoteAddresses = $RemoteAddress }
  New-NetFirewallHyperVRule @rule | Out-Null
  & wsl.exe --shutdown
  Write-Output 'WSL was shut down: restart Docker Desktop now'
}
Write-Output "done: from another computer, try  curl -k https://$($env:COMPUTERNAME):$Port/api/internal/v1/gateway/alive -i"
